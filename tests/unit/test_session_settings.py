"""Which settings a session gets; starting one is left to the tests with Spark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vizrec_spark.session import DELTA_PACKAGE, settings


def test_configuration_over_defaults() -> None:
    assert settings({}, {})["spark.sql.session.timeZone"] == "UTC"
    assert settings({"spark.sql.session.timeZone": "CET"}, {})["spark.sql.session.timeZone"] == "CET"
    assert settings({"spark.executor.cores": "4"}, {})["spark.executor.cores"] == "4"


def test_what_spark_submit_was_given_wins() -> None:
    given = {"spark.log.level": "INFO", "spark.executor.cores": "2"}
    chosen = settings({"spark.executor.cores": "4", "spark.master": "local[1]"}, given)
    assert "spark.log.level" not in chosen
    assert "spark.executor.cores" not in chosen
    assert chosen["spark.master"] == "local[1]"


@pytest.mark.parametrize("name", ["local.conf", "cluster.conf"])
def test_properties_files_bring_the_same_delta(repository: Path, name: str) -> None:
    text = (repository / "conf" / "spark" / name).read_text(encoding="utf-8")
    found = dict(re.findall(r"^(spark\.\S+)\s+(\S.*)$", text, re.MULTILINE))
    assert found["spark.jars.packages"] == DELTA_PACKAGE
    for key in ("spark.sql.extensions", "spark.sql.catalog.spark_catalog", "spark.sql.session.timeZone"):
        assert found[key] == settings({}, {})[key]
