"""Upkeep changes no row: small files together, old ones away, and none that anybody may still read."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from tests.jobs.conftest import settings_stay_in_their_test
from vizrec_spark.app.cli import main
from vizrec_spark.config import load_config
from vizrec_spark.config.models import MaintainConfig
from vizrec_spark.errors import ConfigError, TableError
from vizrec_spark.maintain.stage import BESIDE, STAGE
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import (
    INTERACTIONS,
    ITEM_NEIGHBORS,
    LIVE_EVENTS,
    PROMOTIONS,
    RECOMMENDATIONS,
    RUNS,
    USER_FACTORS,
)

__all__ = ["settings_stay_in_their_test"]

WHEN = datetime(2024, 5, 31, 12, tzinfo=UTC)
DAY = 86_400


def store(spark: SparkSession, root: Path) -> TableStore:
    config = load_config(None, [f"tables.root={root}"])
    return TableStore(spark, config.tables, Stamp("upkeep", "t", "0" * 16))


def run(spark: SparkSession, root: Path, *settings: str) -> StageResult:
    config = load_config(None, [f"tables.root={root}", *settings])
    return STAGE.run(StageContext(spark, config, store(spark, root), "upkeep"))


def forget(spark: SparkSession) -> None:
    """What Delta remembers of logs that were changed behind its back."""
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]


@pytest.fixture
def root(spark: SparkSession, tmp_path: Path) -> Path:
    """`interactions` in four files, and beside them two that no version names: one old, one new."""
    rows = [(f"u{n % 8}", f"i{n}", "view", None, 1.0, WHEN) for n in range(64)]
    frame = spark.createDataFrame(rows, INTERACTIONS.schema).repartition(4, "item_id")
    store(spark, tmp_path / "tables").overwrite(INTERACTIONS, frame)
    for name, age in (("old", 40), ("new", 1)):
        file = tmp_path / "tables" / "interactions" / f"part-{name}.parquet"
        file.write_bytes(b"left by a task that was killed")
        os.utime(file, (time.time() - age * DAY,) * 2)
    return tmp_path / "tables"


def _orphans(root: Path) -> list[str]:
    return sorted(file.stem for file in (root / "interactions").glob("part-???.parquet"))


def _long_ago(root: Path, days: int = 40) -> None:
    """Nobody has touched the table's data and log for so many days."""
    for commit in (root / "_delta_log").glob("*.json"):
        text = commit.read_text(encoding="utf-8")
        # Delta counts from the moment that a file was put out of use, which stands in the log.
        for line in text.splitlines():
            if '"deletionTimestamp":' in line:
                stamp = line.split('"deletionTimestamp":')[1].split(",")[0].rstrip("}")
                text = text.replace(stamp, str(int(stamp) - days * DAY * 1000))
        commit.write_text(text, encoding="utf-8")
        (commit.parent / f".{commit.name}.crc").unlink(missing_ok=True)
    for file in root.rglob("*"):
        os.utime(file, (time.time() - days * DAY,) * 2)


def test_files_become_few_rows_stay_and_old_leftovers_go(
    spark: SparkSession, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = store(spark, root)
    before, changed = sorted(tables.read(INTERACTIONS).collect()), tables.changed_at(INTERACTIONS)
    version = tables.version(INTERACTIONS)
    assert main(["maintain", "--dry-run", "--set", f"tables.root={root}"]) == 0
    shown = capsys.readouterr().out
    assert "interactions: 4 files" in shown and "would be written together; 1 old files" in shown
    assert f"{root}/interactions/part-old.parquet" in shown and "users" not in shown
    assert tables.version(INTERACTIONS) == version and _orphans(root) == ["part-new", "part-old"]
    done = run(spark, root).metrics
    assert (done["files_before"], done["files_after"]) == (4.0, 1.0)
    assert (done["deleted"], done["deleted_bytes"]) == (1.0, 30.0)
    assert _orphans(root) == ["part-new"]
    assert sorted(tables.read(INTERACTIONS).collect()) == before
    # What was learned from the table does not look older than it for that, and the files of before are kept.
    assert tables.changed_at(INTERACTIONS) == changed
    assert tables.read_at(INTERACTIONS, 1).count() == 64
    again = run(spark, root).metrics
    assert (again["files_before"], again["files_after"], again["deleted"]) == (1.0, 1.0, 0.0)


def test_a_table_that_cannot_be_looked_after_holds_up_no_other(
    spark: SparkSession, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does its run lose the record of what was done to the others; a dry run says the same, and does nothing."""
    spark.range(3).write.format("delta").save(f"{root}/items")  # another program's
    command = ["maintain", "--run-id", "upkeep-1", "--set", f"tables.root={root}"]
    assert main([*command, "--dry-run"]) == TableError.exit_code
    shown = capsys.readouterr()
    assert "interactions: 4 files" in shown.out and "items: " not in shown.out
    refused = re.compile(r"1 of 2 tables cannot be looked after now: items \(.*was not made by vizrec-spark")
    assert refused.search(shown.err) and store(spark, root).files(INTERACTIONS) == 4
    assert _orphans(root) == ["part-new", "part-old"]
    assert main(command) == TableError.exit_code
    assert refused.search(capsys.readouterr().err)
    assert store(spark, root).files(INTERACTIONS) == 1 and _orphans(root) == ["part-new"]
    [record] = store(spark, root).read(RUNS).collect()
    assert (record.run_id, record.stage, record.outcome) == ("upkeep-1", "maintain", "done")
    assert [one.table for one in record.tables] == ["interactions"]
    assert record.metrics["tables_left_out"] == record.metrics["deleted"] == 1
    assert (record.metrics["files_before"], record.metrics["files_after"]) == (4, 1)
    assert refused.search(record.notes[-1]) and "Run it again when nothing else writes" in record.notes[-1]
    # The row's outcome knows no third word; who judges runs by the log is told that this one is not done.
    [(_, said)] = list(store(spark, root).commit_infos(RUNS))[:1]
    assert (said["run_id"], said["outcome"], said["partial"]) == ("upkeep-1", "done", True)
    shutil.rmtree(root / "items")
    forget(spark)
    assert main([*command[:2], "upkeep-2", *command[3:]]) == 0
    [(_, said)] = list(store(spark, root).commit_infos(RUNS))[:1]
    assert said["run_id"] == "upkeep-2" and "partial" not in said


def test_a_restore_that_begins_meanwhile_ends_it_with_the_account_of_what_was_done(
    spark: SparkSession, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can be recorded then, so it is told."""
    store(spark, root).ensure(PROMOTIONS)
    vacuum = TableStore.vacuum

    def then_restored(self: TableStore, *args: Any) -> None:
        vacuum(self, *args)
        monkeypatch.setattr(TableStore, "refuse_during_restore", being_restored)

    def being_restored(self: TableStore) -> None:
        raise TableError("The tables are being restored (run undo): wait for its end.")

    monkeypatch.setattr(TableStore, "vacuum", then_restored)
    assert main(["maintain", "--set", f"tables.root={root}"]) == TableError.exit_code
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "Error: " in said
        and "tables cannot be looked after now: promotions (The tables are being restored" in said
    )
    assert "4 files (" in said and "are now" in said and "no record of what was done: The tables are" in said
    assert not store(spark, root).exists(RUNS)


def test_what_a_clone_of_the_dags_reads_stays_though_other_commits_have_followed_on_it(
    spark: SparkSession, root: Path
) -> None:
    tables, training = store(spark, root), store(spark, Path(f"{root}_current"))
    training.clone_from(INTERACTIONS, tables)
    row = [("u9", "i9", "view", None, 1.0, WHEN)]
    training.insert_missing(INTERACTIONS, spark.createDataFrame(row, INTERACTIONS.schema))
    tables.overwrite(INTERACTIONS, tables.read_at(INTERACTIONS, 1).limit(3))
    _long_ago(root / "interactions")
    forget(spark)
    assert run(spark, root).metrics["deleted"] == 0.0
    assert training.read(INTERACTIONS).count() == 65
    training.overwrite(INTERACTIONS, training.read(INTERACTIONS))  # with files of its own it needs nobody's
    assert run(spark, root).metrics["deleted"] == 6.0  # both leftovers are old by now
    assert training.read(INTERACTIONS).count() == 65


def test_the_model_in_service_stays_however_old_it_is(spark: SparkSession, tmp_path: Path) -> None:
    tables = store(spark, tmp_path)
    for model in ("m1", "m2"):
        frame = spark.createDataFrame([(model, "u", [0.5])], USER_FACTORS.schema)
        tables.overwrite(USER_FACTORS, frame)
    promoted = spark.createDataFrame([(1, "day-1", "m1", 1, 1, {}, "{}")], PROMOTIONS.schema)
    tables.upsert(PROMOTIONS, promoted)
    _long_ago(tmp_path / "user_factors")
    forget(spark)
    assert run(spark, tmp_path, "maintain.tables=[user_factors]").metrics["deleted"] == 0.0
    assert tables.read_kept(USER_FACTORS, 1).count() == 1
    tables.upsert(PROMOTIONS, spark.createDataFrame([(2, "day-2", "m2", 2, 2, {}, "{}")], PROMOTIONS.schema))
    there = set((tmp_path / "user_factors").glob("*.parquet"))
    deleted = run(spark, tmp_path, "maintain.tables=[user_factors]").metrics["deleted"]
    gone = there - set((tmp_path / "user_factors").glob("*.parquet"))
    assert deleted == len(gone) > 0
    with pytest.raises(Exception, match=r"FAILED_READ_FILE|FILE_NOT_EXIST"):
        tables.read_kept(USER_FACTORS, 1).collect()
    assert tables.read(USER_FACTORS).count() == 1


def test_live_tables_are_left_to_the_stream(spark: SparkSession, root: Path) -> None:
    store(spark, root).ensure(LIVE_EVENTS)
    assert [one.table for one in run(spark, root).written] == ["interactions"]
    assert [one.table for one in run(spark, root, "maintain.tables=[live_events]").written] == ["live_events"]


def test_copies_are_vacuumed_alone(spark: SparkSession, root: Path) -> None:
    """As weekly_maintain asks for the folders of weekly_retrain: a clone whose files were put together is a copy."""
    training = store(spark, beside := Path(f"{root}_training"))
    assert run(spark, beside, "maintain.compact=false").written == []  # before the first retraining
    training.clone_from(INTERACTIONS, store(spark, root))
    for _ in range(2):
        training.overwrite(USER_FACTORS, spark.createDataFrame([("m", "u", [0.5])], USER_FACTORS.schema))
    _long_ago(beside / "user_factors")
    forget(spark)
    there = set((beside / "user_factors").glob("*.parquet"))
    done = run(spark, beside, "maintain.compact=false")
    assert [one.table for one in done.written] == ["interactions", "user_factors"]
    assert done.metrics["files_before"] == done.metrics["files_after"] > 4
    gone = there - set((beside / "user_factors").glob("*.parquet"))
    assert done.metrics["deleted"] == len(gone) > 0
    assert not list((beside / "interactions").glob("*.parquet"))
    assert training.read(INTERACTIONS).count() == 64


def test_what_is_looked_up_lies_together(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = store(spark, tmp_path)
    alike = [("e", f"i{n}", 1, "other", 0.5, 1.0) for n in range(9)]
    score = (0.0,) * 7
    lists = [(f"u{n}", 1, "i", *score, "als", ["als"], None, {}, "r", None, None) for n in range(9)]
    looked_up = ((ITEM_NEIGHBORS, "item_id", alike), (RECOMMENDATIONS, "user_id", lists))
    for table, column, rows in looked_up:
        tables.overwrite(table, spark.createDataFrame(rows, table.schema).repartition(3, column))
    assert main(["maintain", "--dry-run", "--set", f"tables.root={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    run(spark, tmp_path)
    for table, column, _ in looked_up:
        assert re.search(rf"^{table.name}: \d files, .* would be written by {column};", shown, re.MULTILINE)
        [(_, said)] = list(tables.commit_infos(table))[:1]
        assert said["operation"] == "OPTIMIZE"
        assert json.loads(said["operationParameters"]["zOrderBy"]) == [column]
        assert tables.files(table) == 1 and tables.read(table).count() == 9


def test_no_retention_that_a_job_could_outlive_and_no_unknown_table() -> None:
    assert STAGE.check is not None
    with pytest.raises(ConfigError, match=r"maintain\.tables names user; the tables are items"):
        STAGE.check(load_config(None, ["maintain.tables=[user]"]))
    with pytest.raises(ValidationError):
        MaintainConfig(keep_days=6)
    # Delta forgets when a file was put out of use: a vacuum would go by its age, and take what is in use since.
    with pytest.raises(ValidationError):
        MaintainConfig(keep_days=31)


def test_the_folders_that_the_dags_clone_into_are_known(repository: Path) -> None:
    text = (repository / "airflow_dags" / "vizrec_dags" / "settings.py").read_text(encoding="utf-8")
    assert tuple(re.findall(r'= TABLES \+ "(\w+)"', text)) == BESIDE
