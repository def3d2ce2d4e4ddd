"""How a run is judged by Delta's log, on tables that Spark and the runner have written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from pyspark.sql import SparkSession

from vizrec_spark.app.record import record_run
from vizrec_spark.config.models import Config, TablesConfig
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import RUNS, USERS

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def written(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables after two runs of a stage, the first of which was repeated."""
    root = tmp_path_factory.mktemp("runs")
    for run, names in (("day-1", ["anna"]), ("day-1", ["anna"]), ("day-2", ["anna", "bert"])):
        context = _context(spark, root, run)
        users = spark.createDataFrame([(name,) for name in names], USERS.schema)
        done = context.tables.overwrite(USERS, users)
        elsewhere = replace(done, location="/elsewhere/users", version=99)
        result = StageResult([done, elsewhere], [f"{done.rows} users"], {"seen": len(names)})
        record_run(context, result, seconds=2.5)
    return root


def _context(spark: SparkSession, root: Path, run: str) -> StageContext:
    store = TableStore(spark, TablesConfig(root=str(root)), Stamp(run, "ingest", "0" * 16))
    return StageContext(spark, Config(), store, run)


def test_a_stage_is_recorded_each_time_in_row_and_commit(
    spark: SparkSession, delta_log: ModuleType, written: Path
) -> None:
    rows = _context(spark, written, "look").tables.read(RUNS).orderBy("finished_at").collect()
    assert [(r.run_id, r.stage, r.outcome, r.seconds, r.notes) for r in rows] == [
        ("day-1", "ingest", "done", 2.5, ["1 users"]),
        ("day-1", "ingest", "done", 2.5, ["1 users"]),
        ("day-2", "ingest", "done", 2.5, ["2 users"]),
    ]
    [users] = rows[2].tables  # and not the copy in another place
    assert (users.table, users.version, users.rows, users.changed) == ("users", 3, 2, 2) and users.bytes > 0
    found = delta_log.record_of(written, "day-2", "ingest")
    assert found.tables == {"users": {"version": 3, "rows": 2, "changed": 2}}
    assert (found.outcome, found.metrics, found.notes) == ("done", {"seen": 2.0}, ("2 users",))
    assert (
        delta_log.record_of(written, "day-1", "ingest").tables["users"]["version"] == 2
    )  # the later of the two
    assert [one.run_id for one in delta_log.records(written)] == ["day-2", "day-1", "day-1"]


def test_a_run_that_did_not_end_has_no_record(
    spark: SparkSession, delta_log: ModuleType, written: Path
) -> None:
    assert delta_log.record_of(written, "day-3", "ingest") is None
    assert delta_log.record_of(written, "day-2", "embed") is None
    assert delta_log.record_of(written / "nothing", "day-2", "ingest") is None
    # Rows alone are no end: the driver is lost between the table and the record.
    root = written.with_name("lost")
    shutil.copytree(written, root)
    _context(spark, root, "day-3").tables.overwrite(USERS, spark.createDataFrame([], USERS.schema))
    assert delta_log.record_of(root, "day-3", "ingest") is None


def test_a_record_stands_until_its_tables_are_taken_back(
    spark: SparkSession, delta_log: ModuleType, written: Path
) -> None:
    root = written.with_name("back")
    shutil.copytree(written, root)
    first, second = (delta_log.record_of(root, run, "ingest") for run in ("day-1", "day-2"))
    assert (
        delta_log.undone(root, first) is None and delta_log.undone(root, second) is None
    )  # later writes undo nothing
    days = {"day-1": "2026-01-01", "day-2": "2026-01-02"}
    embeds = [
        replace(one, stage="embed", encoder="lite", metrics={"images_version": version})
        for one, version in ((second, 7.0), (first, 5.0))
    ]
    assert delta_log.day_loaded(root, days.get, LONG_AGO) == "2026-01-02"
    assert delta_log.day_loaded(root, {}.get, LONG_AGO) is None
    assert delta_log.pictures_seen(root, embeds, "lite", 7)
    assert not delta_log.pictures_seen(root, embeds, "other", 5)
    spark.sql(f"RESTORE TABLE delta.`{root}/users` TO VERSION AS OF 2")
    # What was taken back is neither loaded nor embedded.
    assert delta_log.day_loaded(root, days.get, LONG_AGO) == "2026-01-01"
    assert not delta_log.pictures_seen(root, embeds, "lite", 7) and delta_log.pictures_seen(
        root, embeds, "lite", 5
    )
    assert delta_log.undone(root, second) == "table users was restored to before version 3"
    assert delta_log.undone(root, first) is None  # it was restored to what that one has left
    shutil.rmtree(root / "users")
    assert delta_log.undone(root, second) == "table users is not at version 3 any more"
