"""What `holdout` tells to type next, taken at its word."""

from __future__ import annotations

import shlex

from vizrec_spark.config import load_config
from vizrec_spark.evaluate.holdout import training_arguments


def test_what_is_printed_leads_to_the_training_window() -> None:
    given = ["tables.catalog=main.shop", "evaluate.training=/data/a b"]
    told = shlex.split(training_arguments(load_config(None, given)))
    assert told[::2] == ["--set", "--set"]
    tables = load_config(None, [*given, *told[1::2]]).tables
    assert (tables.root, tables.catalog) == ("/data/a b", None)


def test_without_a_catalog_the_folder_is_enough() -> None:
    assert training_arguments(load_config(None, [])) == "--set tables.root=work/training"
