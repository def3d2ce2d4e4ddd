"""Table I/O: slices, merges, catalog names, and what readers see."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructType

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import TableError
from vizrec_spark.tables import Stamp, Table, TableStore, Written, column
from vizrec_spark.tables.foreign import read_pairs

STAMP = Stamp("run-1", "test", "0" * 16)
PARCELS = Table(
    "parcels",
    "dispatch",
    "What is on its way; it's a 'test' with a \\ in it.",
    StructType(
        [
            column("depot", StringType(), "Where it is."),
            column("id", StringType(), "Number on the label."),
            column("grams", LongType(), "Weight, as the sender's label has it.", nullable=True),
        ]
    ),
    ("depot", "id"),
    {"positive": "grams > 0", "short_id": "id rlike '^\\\\w{1,5}$'"},
    partition_by=("depot",),
)
Rows = Callable[..., DataFrame]


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> Rows:
    def frame(*values: tuple[str, str, int]) -> DataFrame:
        return spark.createDataFrame(list(values), "depot string, id string, grams long")

    return frame


@pytest.fixture(params=["path", "catalog"])
def store(spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest) -> TableStore:
    if request.param == "path":
        return TableStore(spark, TablesConfig(root=str(tmp_path / "the tables")), STAMP)
    schema = f"spark_catalog.store_{abs(hash(tmp_path)):x}"
    request.addfinalizer(lambda: spark.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
    return TableStore(spark, TablesConfig(catalog=schema), STAMP)


def content(store: TableStore) -> list[tuple[str, str, int]]:
    return sorted(tuple(row) for row in store.read(PARCELS).collect())


def version(store: TableStore) -> int:
    return store.version(PARCELS)


def test_a_life(store: TableStore, rows: Rows) -> None:
    """One table through every kind of write, by path and by catalog name."""
    assert not store.exists(PARCELS)
    assert store.read_or_empty(PARCELS).columns == PARCELS.columns
    with pytest.raises(TableError, match=r"parcels does not exist at .*: run stage `dispatch` first"):
        store.read(PARCELS)

    written = store.overwrite(PARCELS, rows(("a", "1", 10), ("a", "2", 20), ("b", "1", 30)))
    assert (written.rows, written.changed, written.location) == (3, 3, store.location(PARCELS))
    assert store.exists(PARCELS)

    written = store.overwrite(PARCELS, rows(("a", "3", 40)), where="depot = 'a'")
    assert (written.rows, written.changed) == (2, 1)
    assert content(store) == [("a", "3", 40), ("b", "1", 30)]
    with pytest.raises(TableError, match="parcels"):  # a row outside the slice
        store.overwrite(PARCELS, rows(("b", "9", 1)), where="depot = 'a'")
    assert content(store) == [("a", "3", 40), ("b", "1", 30)]

    written = store.insert_missing(PARCELS, rows(("a", "3", 99), ("c", "1", 50)))
    assert (written.rows, written.changed) == (3, 1)
    before = version(store)
    again = store.insert_missing(PARCELS, rows(("a", "3", 99), ("c", "1", 50)))
    assert (again.rows, again.changed, again.version) == (3, 0, before)
    assert content(store) == [("a", "3", 40), ("b", "1", 30), ("c", "1", 50)]

    # A frame at a version stands whatever is written.
    frame = store.read_at(PARCELS, before).withColumn("file", F.col("_metadata.file_path")).persist()
    try:
        assert frame.count() == 3
        written = store.upsert(PARCELS, rows(("a", "3", 41), ("d", "1", 60)))
        assert sorted(row.grams for row in frame.collect()) == [30, 40, 50]
    finally:
        frame.unpersist()
    assert (written.rows, written.changed) == (4, 2)
    assert content(store) == [("a", "3", 41), ("b", "1", 30), ("c", "1", 50), ("d", "1", 60)]
    with pytest.raises(TableError, match="cannot be read at version 99"):
        store.read_at(PARCELS, 99)

    # Kept as it is, updated, inserted; b and d deleted. All in one commit.
    before = version(store)
    wanted = rows(("a", "3", 0), ("c", "1", 51), ("e", "1", 70))
    written = store.sync(PARCELS, wanted, unchanged="new.grams = 0")
    assert written.version == before + 1 == version(store)
    assert (written.rows, written.changed) == (3, 4)
    assert content(store) == [("a", "3", 41), ("c", "1", 51), ("e", "1", 70)]

    # An emptied slice tells how many rows it removed.
    written = store.overwrite(PARCELS, rows(), where="depot <> 'a'")
    assert (written.rows, written.changed) == (1, 2)
    again = store.overwrite(PARCELS, rows(), where="depot <> 'a'")
    assert (again.rows, again.changed) == (1, 0)
    assert content(store) == [("a", "3", 41)]

    commits = store.commits(PARCELS)
    assert [c["operation"] for c in commits if c["operation"] == "MERGE"] == ["MERGE"] * 3
    assert commits[-1]["version"] == 0
    assert all(c["run_id"] == "run-1" for c in commits)


def test_readers_see_a_whole_version_while_the_next_is_written(
    spark: SparkSession, tmp_path: Path, rows: Rows
) -> None:
    store = TableStore(spark, TablesConfig(root=str(tmp_path)), STAMP)
    store.overwrite(PARCELS, rows(("a", "1", 1), ("b", "1", 2)))
    started = store.read(PARCELS).toLocalIterator()
    first = next(started)
    store.overwrite(PARCELS, rows(("a", "2", 3)))
    assert sorted([first.grams, *(row.grams for row in started)]) == [1, 2]
    assert [row.grams for row in store.read(PARCELS).collect()] == [3]
    earlier = spark.read.option("versionAsOf", 1).format("delta").load(store.location(PARCELS))
    assert sorted(row.grams for row in earlier.collect()) == [1, 2]


def test_a_write_that_fails_leaves_the_last_version(spark: SparkSession, tmp_path: Path, rows: Rows) -> None:
    store = TableStore(spark, TablesConfig(root=str(tmp_path)), STAMP)
    store.overwrite(PARCELS, rows(("a", "1", 1)))
    before = version(store)
    with pytest.raises(TableError, match=r"keeps its last version.*short_id"):
        store.overwrite(PARCELS, rows(("a", "2", 2), ("a", "too long", 3)))
    with pytest.raises(TableError, match="positive"):
        store.sync(PARCELS, rows(("a", "1", -1)), unchanged="false")
    assert version(store) == before
    assert content(store) == [("a", "1", 1)]
    assert spark.conf.get("spark.databricks.delta.commitInfo.userMetadata", None) is None


def test_a_relative_root(spark: SparkSession, tmp_path: Path, rows: Rows) -> None:
    relative = f"work/test-{abs(hash(tmp_path)):x}"
    store = TableStore(spark, TablesConfig(root=relative), STAMP)
    try:
        store.overwrite(PARCELS, rows(("a", "1", 1)))
        assert content(store) == [("a", "1", 1)]
    finally:
        hadoop = spark._jvm.org.apache.hadoop.fs.Path(relative)
        hadoop.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf()).delete(hadoop, True)


@pytest.mark.parametrize("format_", ["delta", "parquet"])
def test_a_table_that_is_not_ours_is_left_alone(
    spark: SparkSession, store: TableStore, rows: Rows, format_: str
) -> None:
    theirs = rows(("a", "1", 1), ("b", "2", 2))
    location = store.location(PARCELS)
    if location.startswith("spark_catalog."):
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {location.rpartition('.')[0]}")
        theirs.write.format(format_).saveAsTable(location)
    elif format_ == "delta":
        theirs.write.format(format_).save(location)
    else:
        pytest.skip("a folder of Parquet files is no table: Delta itself refuses to write there")
    for write in (store.overwrite, store.upsert, store.insert_missing):
        with pytest.raises(TableError, match="was not made by vizrec-spark and is left alone"):
            write(PARCELS, rows(("c", "3", 3)))
    kept = (
        spark.table(location)
        if location.startswith("spark_catalog.")
        else spark.read.format(format_).load(location)
    )
    assert kept.count() == 2
    with pytest.raises(TableError, match="was not made by vizrec-spark"):
        store.read(PARCELS)


def test_rows_that_share_a_file_with_a_slice_are_not_counted_as_changed(
    spark: SparkSession, tmp_path: Path, rows: Rows
) -> None:
    store = TableStore(spark, TablesConfig(root=str(tmp_path)), STAMP)
    store.overwrite(PARCELS, rows(("a", "1", 1), ("a", "2", 2), ("b", "1", 3)).coalesce(1))
    written = store.overwrite(PARCELS, rows(("a", "2", 2), ("a", "3", 2)), where="grams = 2")
    assert (written.rows, written.changed) == (4, 2)


def aged(spark: SparkSession, tmp_path: Path, days: int) -> None:
    """Makes all commits of the table as old as that."""
    then = time.time() - days * 24 * 3600
    for commit in (tmp_path / "parcels" / "_delta_log").glob("*.json"):
        os.utime(commit, (then, then))
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]


@pytest.mark.parametrize("said", ["nightly", "7", '{"run_id": "theirs", "version": "x"}'])
def test_commits_of_others_are_told_whatever_they_say(store: TableStore, rows: Rows, said: str) -> None:
    store.overwrite(PARCELS, rows(("a", "1", 10)))
    key = "spark.databricks.delta.commitInfo.userMetadata"
    store._spark.conf.set(key, said)
    try:
        store._spark.sql(f"DELETE FROM {store._sql_name(PARCELS)} WHERE grams = 10")
    finally:
        store._spark.conf.unset(key)
    last, before = store.commits(PARCELS, limit=2)
    assert (last["version"], last["operation"]) == (store.version(PARCELS), "DELETE")
    assert before["stage"] == STAMP.stage and "stage" not in last


def test_old_versions_are_there_for_a_month_and_the_latest_for_ever(
    spark: SparkSession, tmp_path: Path, rows: Rows
) -> None:
    store = TableStore(spark, TablesConfig(root=str(tmp_path)), STAMP)
    store.overwrite(PARCELS, rows(("a", "1", 1), ("a", "2", 2), ("b", "1", 3)))
    aged(spark, tmp_path, 20)
    store.overwrite(PARCELS, rows(("a", "1", 5), ("a", "2", 2), ("b", "1", 3)))
    assert store.read_at(PARCELS, 1).where("grams = 1").count() == 1
    aged(spark, tmp_path, 40)
    store.overwrite(PARCELS, rows(("a", "1", 5), ("a", "2", 2), ("b", "1", 3)))
    # What is named somewhere is read, though its commit is older than files are kept that nobody needs.
    assert store.read_kept(PARCELS, 2).where("grams = 5").count() == 1
    aged(spark, tmp_path, 60)
    with pytest.raises(TableError, match="cannot be read at version 1"):
        store.read_at(PARCELS, 1)
    assert store.pinned(PARCELS).where("grams = 5").count() == 1
    # A slice is emptied though the count of before is that of an old version.
    written = store.overwrite(PARCELS, rows(), where="depot = 'a'")
    assert (written.rows, written.changed) == (1, 2)


def test_a_copy_knows_of_what_it_is_a_copy(spark: SparkSession, tmp_path: Path, rows: Rows) -> None:
    one, two, copy = (
        TableStore(spark, TablesConfig(root=str(tmp_path / name)), STAMP) for name in ("one", "two", "copy")
    )
    one.overwrite(PARCELS, rows(("a", "1", 1)))
    two.overwrite(PARCELS, rows(("a", "1", 2)))
    assert version(one) == version(two)
    with pytest.raises(TableError, match="run stage `dispatch` first"):
        copy.clone_from(PARCELS, TableStore(spark, TablesConfig(root=str(tmp_path / "none")), STAMP))
    assert copy.clone_from(PARCELS, one).rows == 1
    for source, grams, commits in ((one, 1, 0), (two, 2, 1), (two, 2, 0), (one, 1, 1)):
        before = version(copy)
        copy.clone_from(PARCELS, source)
        assert content(copy) == [("a", "1", grams)] and version(copy) == before + commits


def test_a_write_is_accounted_for_where_delta_compacts_behind_it(
    spark: SparkSession, tmp_path: Path, rows: Rows
) -> None:
    store = TableStore(spark, TablesConfig(root=str(tmp_path)), STAMP)
    auto = {"autoCompact.enabled": "true", "autoCompact.minNumFiles": "2"}
    for name, value in auto.items():
        spark.conf.set(f"spark.databricks.delta.{name}", value)
    try:
        written = store.overwrite(PARCELS, rows(*(("a", str(n), 1 + n) for n in range(40))).repartition(4))
    finally:
        for name in auto:
            spark.conf.unset(f"spark.databricks.delta.{name}")
    assert [commit["operation"] for commit in store.commits(PARCELS, 2)] == ["OPTIMIZE", "WRITE"]
    assert (written.rows, written.changed, written.version) == (40, 40, version(store) - 1)


def test_of_writers_at_the_same_time_each_wins_or_says_so(spark: SparkSession, tmp_path: Path) -> None:
    sessions = [spark.newSession() for _ in range(4)]
    stores = [TableStore(session, TablesConfig(root=str(tmp_path)), STAMP) for session in sessions]

    def parcel(number: int) -> DataFrame:
        return sessions[number].createDataFrame(
            [("a", "1", 10 + number)], "depot string, id string, grams long"
        )

    def write(number: int) -> str:
        try:
            stores[number].upsert(PARCELS, parcel(number))
        except TableError as error:
            return str(error)
        return "won"

    stores[0].overwrite(PARCELS, parcel(0))
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(write, range(4)))
    assert "won" in told
    assert all(t == "won" or "was written by another run at the same time" in t for t in told), told
    [(_, _, grams)] = content(stores[0])
    assert told[grams - 10] == "won"


def test_threads_of_one_session_each_leave_their_own_stamp(
    spark: SparkSession, tmp_path: Path, rows: Rows
) -> None:
    config = TablesConfig(root=str(tmp_path))
    stores = [TableStore(spark, config, replace(STAMP, run_id=f"run-{n}")) for n in range(4)]
    stores[0].ensure(PARCELS)
    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(lambda n: stores[n].upsert(PARCELS, rows(("a", str(n), n + 1))), range(4)))
    assert [done.changed for done in written] == [1] * 4
    runs = {commit["run_id"] for commit in stores[0].commits(PARCELS, 4)}
    assert runs == {f"run-{n}" for n in range(4)}
    assert spark.conf.get("spark.databricks.delta.commitInfo.userMetadata", None) is None


def held(frame: DataFrame, folder: Path, keep: bool = True) -> DataFrame:
    """`frame`, or none of its rows, which whoever reads it gets once folder `go` is there; then `begun` is."""
    begun, go = folder / "begun", folder / "go"

    def wait(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            begun.mkdir(exist_ok=True)
            while not go.exists():
                time.sleep(0.01)
            if keep:
                yield batch

    return frame.mapInArrow(wait, frame.schema)


@contextmanager
def while_it_writes(
    folder: Path, write: Callable[..., Written], *arguments: Any
) -> Iterator[Future[Written]]:
    """The body runs once `write` has begun to read what is `held`, and before it goes on."""
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write, *arguments)
        try:
            while not (folder / "begun").exists() and not written.done():
                time.sleep(0.01)
            yield written
        finally:
            (folder / "go").mkdir()


def test_threads_of_one_session_each_account_for_their_own_commit(
    spark: SparkSession, tmp_path: Path, rows: Rows
) -> None:
    """One is writing two rows of its slice while another empties a slice that is empty, and commits nothing."""
    store = TableStore(spark, TablesConfig(root=str(tmp_path / "tables")), STAMP)
    store.ensure(PARCELS)
    parcels = held(rows(("a", "1", 1), ("a", "2", 2)), tmp_path)
    with (
        ThreadPoolExecutor(1) as pool,
        while_it_writes(tmp_path, store.overwrite, PARCELS, parcels, "depot = 'a'") as first,
    ):
        second = pool.submit(store.overwrite, PARCELS, rows(), "depot = 'z'")
        time.sleep(0.5)  # for what the second does before it waits
    assert [(done.rows, done.changed) for done in (first.result(), second.result())] == [(2, 2), (2, 0)]


@pytest.mark.parametrize("kind", ["overwrite", "delete"])
def test_a_commit_of_another_process_in_between_is_not_accounted_for(
    spark: SparkSession, tmp_path: Path, rows: Rows, kind: str
) -> None:
    """Another session stands for another process: it has no lock in common with this one."""
    config = TablesConfig(root=str(tmp_path / "tables"))
    session = spark.newSession()
    other = TableStore(session, config, replace(STAMP, run_id="run-2"))
    store = TableStore(spark, config, STAMP)
    # One file, so that the task which waits leaves a slot to the others.
    store.overwrite(PARCELS, rows(("a", "1", 1), ("a", "2", 2)).coalesce(1))
    begun, go = tmp_path / "begun", tmp_path / "go"

    @F.udf("boolean")
    def in_time(_: str) -> bool:
        begun.mkdir(exist_ok=True)
        while not go.exists():
            time.sleep(0.01)
        return True

    if kind == "overwrite":
        nothing = held(rows(("z", "1", 1)), tmp_path, keep=False)
        ours = while_it_writes(tmp_path, store.overwrite, PARCELS, nothing, "depot = 'z'")
    else:
        ours = while_it_writes(tmp_path, store.delete, PARCELS, (F.col("depot") == "a") & in_time("id"))
    theirs = session.createDataFrame([("b", n, 1) for n in "123"], rows().schema)
    with ours as written:
        assert other.overwrite(PARCELS, theirs, "depot = 'b'").changed == 3
    done = written.result()
    assert (done.rows, done.changed) == ((5, 0) if kind == "overwrite" else (3, 2))


def test_pairs_that_somebody_else_made(spark: SparkSession, tmp_path: Path) -> None:
    pairs = spark.createDataFrame([(1, "b", 0.5)], "item_id int, neighbor_id string, cosine double")
    for format_ in ("delta", "parquet"):
        pairs.write.format(format_).save(str(tmp_path / format_))
        found = read_pairs(spark, str(tmp_path / format_))
        assert found.dtypes == [("item_id", "string"), ("neighbor_id", "string")]
        assert found.collect() == [("1", "b")]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "pairs.csv").write_text("item_id,neighbor_id\na,b\n")
    pairs.drop("neighbor_id").write.parquet(str(tmp_path / "half"))
    for wrong in ("text", "half", "nowhere"):
        with pytest.raises(TableError, match=f"Delta table of item_id and neighbor_id at .*{wrong}: "):
            read_pairs(spark, str(tmp_path / wrong))
