"""Upkeep changes no row: small files together, old ones away, and none that anybody may still read."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from vizrec_spark.config import load_config
from vizrec_spark.config.models import MaintainConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.maintain.stage import STAGE, _still_needed
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import INTERACTIONS, USERS

WHEN = datetime(2024, 5, 31, 12, tzinfo=UTC)
DAY = 86_400


def store(spark: SparkSession, root: Path) -> TableStore:
    return TableStore(
        spark, load_config(None, [f"tables.root={root}"]).tables, Stamp("upkeep", "t", "0" * 16)
    )


def run(spark: SparkSession, root: Path, *settings: str) -> StageResult:
    config = load_config(None, [f"tables.root={root}", f"evaluate.training={root}_training", *settings])
    return STAGE.run(StageContext(spark, config, store(spark, root), "upkeep"))


@pytest.fixture
def root(spark: SparkSession, tmp_path: Path) -> Path:
    """`interactions` in four files, and beside them two that no version names: one old, one new."""
    tables = store(spark, tmp_path / "tables")
    rows = [(f"u{n % 8}", f"i{n}", "view", None, 1.0, WHEN) for n in range(64)]
    frame = spark.createDataFrame(rows, INTERACTIONS.schema).repartition(4, "item_id")
    tables.overwrite(INTERACTIONS, frame)
    for name, age in (("old", 40), ("new", 1)):
        file = tmp_path / "tables" / "interactions" / f"part-{name}.parquet"
        file.write_bytes(b"left by a task that was killed")
        os.utime(file, (time.time() - age * DAY,) * 2)
    return tmp_path / "tables"


def _orphans(root: Path) -> list[str]:
    return sorted(file.stem for file in (root / "interactions").glob("part-???.parquet"))


def test_a_dry_run_tells_and_touches_nothing(spark: SparkSession, root: Path) -> None:
    tables = store(spark, root)
    version = tables.version(INTERACTIONS)
    told = run(spark, root, "maintain.dry_run=true")
    assert told.metrics == {"files_compacted": 4.0, "files_vacuumed": 1.0}
    assert tables.version(INTERACTIONS) == version and _orphans(root) == ["part-new", "part-old"]


def test_files_become_few_rows_stay_and_old_leftovers_go(spark: SparkSession, root: Path) -> None:
    tables = store(spark, root)
    before, changed = sorted(tables.read(INTERACTIONS).collect()), tables.changed_at(INTERACTIONS)
    done = run(spark, root)
    assert done.metrics == {"files_compacted": 4.0, "files_vacuumed": 1.0}
    assert tables.files(INTERACTIONS) == 1 and _orphans(root) == ["part-new"]
    assert sorted(tables.read(INTERACTIONS).collect()) == before
    # What was learned from the table does not look older than it for that, and the files of before are kept.
    assert tables.changed_at(INTERACTIONS) == changed
    assert tables.read_at(INTERACTIONS, 1).count() == 64
    again = run(spark, root)
    assert again.metrics == {"files_compacted": 0.0, "files_vacuumed": 0.0}


def test_what_a_clone_reads_is_not_vacuumed(spark: SparkSession, root: Path) -> None:
    tables, training = store(spark, root), store(spark, Path(f"{root}_training"))
    training.clone_from(INTERACTIONS, tables)
    tables.overwrite(INTERACTIONS, tables.read_at(INTERACTIONS, 1))
    now = datetime.now(UTC)
    assert _still_needed(training, tables, INTERACTIONS, now - timedelta(days=7)) is None
    why = _still_needed(training, tables, INTERACTIONS, now + timedelta(days=1))
    assert why is not None and "reads version 1" in why and "holdout" in why
    assert _still_needed(training, tables, USERS, now) is None
    assert (
        run(spark, root, f"maintain.clones=[{root}_training]").metrics["files_vacuumed"] == 1.0
    )  # a fresh clone
    training.overwrite(INTERACTIONS, training.read(INTERACTIONS))  # with files of its own it needs nobody's
    assert _still_needed(training, tables, INTERACTIONS, now + timedelta(days=1)) is None


def test_some_tables_alone_and_no_retention_that_a_job_could_outlive(spark: SparkSession, root: Path) -> None:
    assert run(spark, root, "maintain.tables=[users]").written == []
    assert STAGE.check is not None
    with pytest.raises(ConfigError, match=r"maintain\.tables names user; the tables are items"):
        STAGE.check(load_config(None, ["maintain.tables=[user]"]))
    with pytest.raises(ValidationError):
        MaintainConfig(keep_days=6)
