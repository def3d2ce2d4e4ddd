"""Taking back a run: all that it wrote, with what belongs together, and safe to kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import pytest
from pyspark.sql import DataFrame, SparkSession

from tests.dags.conftest import delta_log, shared
from tests.jobs.conftest import settings_stay_in_their_test
from vizrec_spark.app.cli import main
from vizrec_spark.app.record import record_run
from vizrec_spark.config.models import Config, TablesConfig
from vizrec_spark.errors import TableError
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, Table, TableStore
from vizrec_spark.tables.journal import begin, begun, carry_out, finish
from vizrec_spark.tables.rollback import plan_restore
from vizrec_spark.tables.schemas import ID_MAP, ITEM_FACTORS, PROMOTIONS, RUNS, USER_FACTORS, USERS
from vizrec_spark.tables.standing import standing

__all__ = ["delta_log", "settings_stay_in_their_test", "shared"]  # fixtures


def context(spark: SparkSession, root: Path, run: str, stage: str = "als") -> StageContext:
    store = TableStore(spark, TablesConfig(root=str(root)), Stamp(run, stage, "0" * 16))
    return StageContext(spark, Config(), store, run)


def factors(spark: SparkSession, table: Table, model: str, n: int) -> DataFrame:
    return spark.createDataFrame([(model, f"{i}", [0.5]) for i in range(n)], table.schema)


@pytest.fixture(scope="module")
def published(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good run of `als` with three users, and a bad one with one, which also wrote a report."""
    root = tmp_path_factory.mktemp("restore") / "tables"
    for run, n in (("good", 3), ("bad", 1)):
        als = context(spark, root, run)
        ids = spark.createDataFrame([("user", f"{run}{i}", 10 * n + i) for i in range(n)], ID_MAP.schema)
        written = [als.tables.insert_missing(ID_MAP, ids)]
        for table in (USER_FACTORS, ITEM_FACTORS):
            written.append(als.tables.overwrite(table, factors(spark, table, run, n)))
        record_run(als, StageResult(written), seconds=1.0)
    record_run(context(spark, root, "bad", "report"), StageResult(), seconds=1.0)
    return root


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "tables"))


@pytest.fixture
def restore(root: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command; its exit code, and what it told in one line."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["restore", *arguments, "--set", f"tables.root={root}"])
        told = capsys.readouterr()
        return code, " ".join((told.out + told.err).split())

    return run


def models(spark: SparkSession, root: Path) -> list[tuple[str, int]]:
    """Of both tables of factors, the model and the rows."""
    tables = context(spark, root, "look").tables
    counts = [tables.read(t).groupBy("model_id").count().collect() for t in (USER_FACTORS, ITEM_FACTORS)]
    return [(row[0], row[1]) for rows in counts for row in rows]


GOOD, BAD = [("good", 3)] * 2, [("bad", 1)] * 2


def test_a_run_is_taken_back_once_and_the_restore_can_be_taken_back(
    spark: SparkSession, root: Path, restore: Callable[..., tuple[int, str]], delta_log: ModuleType
) -> None:
    code, told = restore("bad")
    assert code == 0 and "1 → 3" in told and "nothing was changed; --yes does it" in told
    assert "run bad (stage als)" in told and "id_map" not in told
    assert models(spark, root) == BAD
    assert restore("bad", "--yes", "--run-id", "undo")[0] == 0
    assert models(spark, root) == GOOD
    tables = context(spark, root, "look").tables
    assert tables.read(ID_MAP).count() == 4  # integers that were given are not given again
    last = tables.commits(ITEM_FACTORS, 1)[0]
    assert (last["operation"], last["run_id"], last["stage"]) == ("RESTORE", "undo", "restore")
    [row] = tables.read(RUNS).where("run_id = 'undo'").collect()
    assert sorted(t.table for t in row.tables) == ["item_factors", "user_factors"]
    # A task of the bad run is not taken for done, though its report wrote no table; the good one stands.
    standing = {
        (run, stage): delta_log.standing(root, run, stage) is not None
        for run, stage in (("good", "als"), ("bad", "als"), ("bad", "report"), ("undo", "restore"))
    }
    assert list(standing.values()) == [True, False, False, True]
    code, told = restore("bad", "--yes")
    assert code == 0 and "no table holds anything that run bad wrote" in told
    assert restore("undo", "--yes", "--run-id", "undo-the-undo")[0] == 0
    assert models(spark, root) == BAD
    assert delta_log.standing(root, "bad", "als") and delta_log.standing(root, "bad", "report")
    assert delta_log.standing(root, "undo", "restore") is None


def test_cut_off_in_its_middle_it_is_finished_by_the_next_call_and_nobody_writes_meanwhile(
    spark: SparkSession,
    root: Path,
    restore: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class PowerCut(BaseException):
        """Nothing expects it."""

    once = TableStore.restore

    def first_only(store: TableStore, table: Table, version: int) -> Any:
        if table.name == "item_factors":
            raise PowerCut
        return once(store, table, version)

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(TableStore, "restore", first_only)
        restore("bad", "--yes", "--run-id", "undo")
    assert models(spark, root) == [*GOOD[:1], *BAD[:1]]
    other = context(spark, root, "next").tables
    with pytest.raises(TableError, match=r"being restored \(run undo\)"):
        other.overwrite(USER_FACTORS, factors(spark, USER_FACTORS, "next", 2))
    assert main(["similar", "--set", f"tables.root={root}"]) == 4
    assert restore("good", "--yes")[0] == 2
    code, told = restore("bad")
    assert code == 0 and "going on with undo" in told and models(spark, root)[1:] == BAD[:1]
    version = other.version(USER_FACTORS)
    assert restore("--resume", "--yes")[0] == 0
    assert models(spark, root) == GOOD and other.version(USER_FACTORS) == version
    assert [r.run_id for r in other.read(RUNS).where("stage = 'restore'").collect()] == ["undo"]
    after = context(spark, root, "next").tables
    after.overwrite(USER_FACTORS, factors(spark, USER_FACTORS, "next", 2))
    assert restore("--resume", "--yes")[1].endswith("there is nothing to finish")


def test_a_write_that_was_on_its_way_goes_too(
    spark: SparkSession, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = context(spark, root, "undo", "restore").tables
    plan = plan_restore(store, "bad")
    begin(store, spark, plan)
    once, late = TableStore.restore, factors(spark, ITEM_FACTORS, "late", 1)

    def beside_it(tables: TableStore, table: Table, version: int) -> Any:
        if table is ITEM_FACTORS and tables.version(table) == 2:
            late.write.format("delta").mode("append").save(f"{root}/item_factors")  # it had asked before
        return once(tables, table, version)

    monkeypatch.setattr(TableStore, "restore", beside_it)
    overruled = [one.overruled for one in carry_out(store, spark, plan)]
    assert overruled == [(), ("a WRITE by hand",)] and models(spark, root) == GOOD


def test_a_plan_that_is_out_of_date_and_a_second_restore_change_nothing(
    spark: SparkSession, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (context(spark, root, run, "restore").tables for run in ("one", "two"))
    plan = plan_restore(one, "bad")
    context(spark, root, "new").tables.overwrite(ITEM_FACTORS, factors(spark, ITEM_FACTORS, "new", 2))
    begin(one, spark, plan)
    with pytest.raises(TableError, match=r"item_factors was written by run new \(stage als\) since"):
        carry_out(one, spark, plan)
    assert one.restore_under_way() is None
    with pytest.raises(TableError, match=r"run new \(stage als\) wrote item_factors version 3"):
        plan_restore(one, "bad")
    both = plan_restore(one, "bad", with_later=True)
    assert {step.table.name: step.then for step in both.steps} == {"user_factors": 1, "item_factors": 1}
    with pytest.raises(TableError, match="Run one stands in table restores already"):
        begin(one, spark, both)
    three = context(spark, root, "three", "restore").tables
    begin(three, spark, both)
    with pytest.raises(TableError, match=r"being restored \(run three\)"):
        begin(two, spark, both)
    monkeypatch.setattr(two, "refuse_during_restore", lambda: None)  # it had asked before the other began
    with pytest.raises(TableError, match="Restore three of the same tables was begun first"):
        begin(two, spark, both)
    finish(three, spark, both)
    assert three.restore_under_way() is None
    assert models(spark, root) == [("bad", 1), ("new", 2)]


def test_a_run_that_was_on_while_tables_were_restored_writes_no_more(spark: SparkSession, root: Path) -> None:
    before, undo = context(spark, root, "slow"), context(spark, root, "undo", "restore").tables
    before.tables.overwrite(USERS, spark.createDataFrame([("anna",)], USERS.schema))
    plan = plan_restore(undo, "bad")
    begin(undo, spark, plan)
    meanwhile = context(spark, root, "hasty")
    carry_out(undo, spark, plan)
    finish(undo, spark, plan)
    for late in (before, meanwhile):
        for write in (
            lambda: late.tables.overwrite(ITEM_FACTORS, factors(spark, ITEM_FACTORS, "slow", 2)),  # noqa: B023
            lambda: record_run(late, StageResult(), seconds=1.0),  # noqa: B023
        ):
            with pytest.raises(
                TableError, match=r"were restored \(run undo\) since this run began.*Run it again"
            ):
                write()
    assert models(spark, root) == GOOD
    record_run(context(spark, root, "slow"), StageResult(), seconds=1.0)
    undo.refuse_during_restore()  # its own does not count


def test_a_restore_that_cannot_go_on_is_given_up(
    spark: SparkSession, root: Path, restore: Callable[..., tuple[int, str]]
) -> None:
    busy, undo = context(spark, root, "busy").tables, context(spark, root, "undo", "restore").tables
    plan = plan_restore(undo, "bad")
    file, *_ = (Path(urlparse(f).path) for f in undo.read_at(ITEM_FACTORS, 1).inputFiles())
    # A vacuum that had begun before the restore takes a file after it was looked for.
    begin(undo, spark, plan)
    kept = file.rename(file.with_suffix(".gone"))
    code, told = restore("--resume", "--yes")
    assert code == 4 and "item_factors misses 1 files of version 1" in told
    assert undo.restore_under_way() is None  # nothing was restored yet, so it is over
    busy.overwrite(USERS, spark.createDataFrame([("anna",)], USERS.schema))  # and nobody's run is in vain
    kept.rename(file)
    again = context(spark, root, "again", "restore").tables
    begin(again, spark, plan)
    again.restore(USER_FACTORS, 1)  # and killed here
    file.rename(kept)
    code, told = restore("--resume", "--yes")
    assert (
        code == 4 and "again is not finished" in told and "item_factors misses 1 files of version 1" in told
    )
    assert restore("--abandon")[0] == 0 and models(spark, root) == [*GOOD[:1], *BAD[:1]]
    code, told = restore("--abandon", "--yes")
    assert code == 0 and "put back user_factors, 1 rows" in told
    assert models(spark, root) == BAD and again.restore_under_way() is None
    assert again.read_or_empty(RUNS).where("run_id = 'again'").isEmpty()
    with pytest.raises(TableError, match=r"were restored \(run again\) since this run began"):
        busy.overwrite(USERS, spark.createDataFrame([], USERS.schema))


def test_the_id_of_another_run_does_not_name_a_restore(
    spark: SparkSession, root: Path, restore: Callable[..., tuple[int, str]]
) -> None:
    assert restore("bad", "--yes", "--run-id", "undo")[0] == 0
    assert restore("undo", "--yes", "--run-id", "redo")[0] == 0
    code, told = restore("bad", "--yes", "--run-id", "undo")
    assert code == 4 and "Run undo stands in table restores already" in told and models(spark, root) == BAD
    assert restore("bad", "--yes", "--run-id", "good")[0] == 4 and models(spark, root) == BAD
    assert context(spark, root, "look").tables.restore_under_way() is None


def test_a_mate_that_is_written_after_the_plan_stops_it_and_who_ended_since_is_named(
    spark: SparkSession, root: Path
) -> None:
    record_run(context(spark, root, "night", "recommend"), StageResult(), seconds=1.0)
    undo, other = (
        context(spark, root, run, stage).tables for run, stage in (("u", "restore"), ("new", "promote"))
    )
    plan = plan_restore(undo, "bad")
    assert plan.read_since == (("night", "recommend"),)
    row = (1, "day-1", "m1", 1, 1, {}, "{}")
    other.upsert(PROMOTIONS, spark.createDataFrame([row], PROMOTIONS.schema))
    begin(undo, spark, plan)
    found = begun(context(spark, root, "look").tables)
    assert found is not None and found[1].read_since == plan.read_since
    with pytest.raises(TableError, match="written to tables that belong with these since"):
        carry_out(undo, spark, plan)
    assert models(spark, root) == BAD and undo.restore_under_way() is None


def test_a_log_that_cannot_be_read_is_not_taken_for_a_short_one(spark: SparkSession, root: Path) -> None:
    store = context(spark, root, "look").tables
    commit = root / "item_factors" / "_delta_log" / f"{1:020d}.json"
    found = store.commit_infos(ITEM_FACTORS)
    assert next(found)[0] == 2
    kept = commit.rename(commit.with_suffix(".kept"))
    assert next(found, None) is None  # Delta has cleaned its log
    kept.rename(commit)
    found = store.commit_infos(ITEM_FACTORS)
    assert next(found)[0] == 2
    kept = commit.rename(commit.with_suffix(".kept"))
    commit.mkdir()
    with pytest.raises(TableError, match=r"log of table item_factors .* says of version 1 cannot be read"):
        next(found)
    commit.rmdir()
    kept.rename(commit)


def test_what_was_vacuumed_is_told_before_anything_changes(spark: SparkSession, root: Path) -> None:
    store = context(spark, root, "undo", "restore").tables
    file, *_ = store.read_at(ITEM_FACTORS, 1).inputFiles()
    Path(urlparse(file).path).unlink()
    with pytest.raises(TableError, match=r"item_factors misses 1 files of version 1, first .*parquet"):
        plan_restore(store, "bad")
    with pytest.raises(TableError, match=r"Run nobody has written nothing here\. The last runs: bad, good"):
        plan_restore(store, "nobody")
    with pytest.raises(TableError, match="no stage embed; it has als, report"):
        plan_restore(store, "bad", ["embed"])


def test_a_copy_that_the_run_made_has_no_version_before(spark: SparkSession, root: Path) -> None:
    live, training = (context(spark, place, "split", "holdout").tables for place in (root, root / "training"))
    training.clone_from(USER_FACTORS, live)
    later = context(spark, root / "training", "split", "als").tables
    later.overwrite(USER_FACTORS, factors(spark, USER_FACTORS, "again", 1))
    with pytest.raises(TableError, match="made by run split as a copy of a table of another place"):
        plan_restore(training, "split")
    plan = plan_restore(training, "split", ["als"])
    assert [(s.then, s.rows_then) for s in plan.steps] == [(0, 1)]


def test_a_restore_that_was_taken_back_counts_for_nothing_however_long_the_chain(spark: SparkSession) -> None:
    def at(day: int) -> datetime:
        return datetime(2026, 1, day, tzinfo=UTC)

    runs = spark.createDataFrame(
        [("a", "als", at(1)), ("b", "als", at(2))], "run_id string, stage string, finished_at timestamp"
    )
    chain = [
        ("r1", at(3), [("a", "als")]),
        ("r2", at(4), [("r1", "restore")]),
        ("r3", at(5), [("r2", "restore")]),
    ]
    unit = "array<struct<run_id: string, stage: string>>"
    for n, left in ((0, {"a", "b"}), (1, {"b"}), (2, {"a", "b"}), (3, {"b"})):
        rows = [(run, "done", moment, units) for run, moment, units in chain[:n]]
        restores = spark.createDataFrame(
            rows, f"run_id string, event string, at timestamp, takes_back {unit}"
        )
        assert {row.run_id for row in standing(runs, restores).collect()} == left
