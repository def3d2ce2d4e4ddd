"""Writes without Spark, into tables that Spark has made, reads and writes as well."""

from __future__ import annotations

import hashlib
import math
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.disks import small_disk
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import DiskSpaceError, TableError, WriteConflict
from vizrec_spark.serve import columns
from vizrec_spark.serve.delta import TableFolder
from vizrec_spark.tables import Once, Stamp, TableStore, direct
from vizrec_spark.tables.direct import Direct
from vizrec_spark.tables.schemas import INTERACTIONS, LIVE_EVENTS, LIVE_RECOMMENDATIONS

STAMP = Stamp("run-7", "stream", "0" * 16)
NOON = datetime(2025, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def store(spark: SparkSession, tmp_path: Path) -> TableStore:
    return TableStore(spark, TablesConfig(root=str(tmp_path / "tables with spaces")), STAMP)


def made(store: TableStore, table: Any) -> Direct:
    store.ensure(table)
    return Direct.on(store, table)


def events(direct: Direct, *ids: str, **changes: Any) -> pa.Table:
    row = {
        "user_id": "u1",
        "item_id": "i1",
        "event": "view",
        "rating": None,
        "weight": 1.0,
        "timestamp": NOON,
        "arrived_at": NOON,
        "query_id": "q",
        "batch": 0,
    }
    return pa.Table.from_pylist([{"event_id": one, **row, **changes} for one in ids], direct.schema)


def lists(direct: Direct, users: list[str], batch: int) -> pa.Table:
    offer = {"rank": 1, "item_id": "i1", "score": 0.5, "proposed_by": ["als"], "because": {"k": "v"}}
    row = {
        "offers": [offer, {**offer, "rank": 2, "because": None}],
        "latest": ["i9"],
        "last_event_at": NOON,
        "updated_at": NOON,
        "batch": batch,
        "model_id": None,
        "encoder_id": "e",
    }
    return pa.Table.from_pylist([{"user_id": user, **row} for user in users], direct.schema)


def test_a_numbered_write_is_made_once(store: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a job that was thought dead: it has opened the table before the other wrote."""
    direct = made(store, LIVE_EVENTS)
    direct.append(events(direct, "e1"), Once("writer", 4))
    direct.append(events(direct, "e2"), Once("writer", 4))
    direct.append(events(direct, "e3"), Once("writer", 3))
    before = direct._open()
    direct.append(events(direct, "e4"), Once("writer", 5))
    opened = iter([before, DeltaTable(direct.path)])
    with monkeypatch.context() as patch:
        patch.setattr(Direct, "_open", lambda _: next(opened))
        direct.append(events(direct, "e5"), Once("writer", 5))
    lists_of = made(store, LIVE_RECOMMENDATIONS)
    lists_of.upsert(lists(lists_of, ["u1"], 7), Once("writer", 7))
    lists_of.upsert(lists(lists_of, ["u1"], 6), Once("writer", 6))
    assert sorted(row.event_id for row in store.read(LIVE_EVENTS).collect()) == ["e1", "e4"]
    assert [row.batch for row in store.read(LIVE_RECOMMENDATIONS).collect()] == [7]


def test_spark_goes_on_behind_a_checkpoint_of_many_commits(store: TableStore, spark: SparkSession) -> None:
    direct = made(store, LIVE_RECOMMENDATIONS)
    users = [f"u{n}" for n in range(30)]
    direct.upsert(lists(direct, users, 0), Once("writer", 0))
    store.delete(LIVE_RECOMMENDATIONS, F.col("user_id").isin("u1", "u2"))
    frame = spark.createDataFrame(lists(direct, ["new"], 1), LIVE_RECOMMENDATIONS.schema)
    store.upsert_once(LIVE_RECOMMENDATIONS, frame, Once("writer", 1))
    log = Path(direct.path) / "_delta_log"
    (log / "._last_checkpoint.crc").write_bytes(b"as Hadoop leaves it")
    direct.tidy()
    assert not (log / "._last_checkpoint.crc").exists()
    for number in range(2, 12):
        direct.upsert(lists(direct, [f"u{number}"], number), Once("writer", number))
    direct.tidy()
    direct.free()  # nothing is so old
    assert len(list(log.glob("*.checkpoint.parquet"))) == 2
    last = max(file.name for file in log.glob("*.checkpoint.parquet")).split(".")[0]
    for file in log.glob("*.json"):
        if file.name < last:  # as if the log had been cleaned
            file.unlink()
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]
    wanted = {u: 0 for u in users if u not in ("u1", "u2")} | {f"u{n}": n for n in range(2, 12)} | {"new": 1}
    for _ in range(2):
        found = {row.user_id: row.batch for row in store.read(LIVE_RECOMMENDATIONS).collect()}
        assert found == wanted and store.last_number(LIVE_RECOMMENDATIONS, "writer") == 11
        # And with what Spark writes behind it.
        store.upsert_once(LIVE_RECOMMENDATIONS, frame, None)
        store.delete(LIVE_RECOMMENDATIONS, F.col("user_id") == "u20")
        wanted.pop("u20", None)
    opened = TableFolder(store._config).open(columns.LIVE_RECOMMENDATIONS)
    assert opened is not None
    rows = opened.table(("user_id",))
    assert rows is not None and set(rows["user_id"].to_pylist()) == set(wanted)


def test_old_files_go_an_hour_after_they_were_replaced(store: TableStore) -> None:
    direct = made(store, LIVE_RECOMMENDATIONS)
    direct.upsert(lists(direct, ["u1"], 0), None)
    [first] = Path(direct.path).glob("*.parquet")
    direct.upsert(lists(direct, ["u1"], 1), None)
    direct.free()
    assert first.exists()
    # Two hours later, as the log tells it.
    logged = (Path(direct.path) / "_delta_log").glob("*.json")
    [commit] = [file for file in logged if '"deletionTimestamp"' in file.read_text()]
    text = commit.read_text()
    [told] = re.findall(r'"deletionTimestamp":(\d+)', text)
    commit.write_text(text.replace(told, str(int(told) - 2 * 3_600_000)))
    direct.free()
    assert not first.exists()
    assert [row.batch for row in store.read(LIVE_RECOMMENDATIONS).collect()] == [1]


def test_what_is_written_stands_in_the_table_as_spark_would_have_written_it(store: TableStore) -> None:
    direct = made(store, LIVE_EVENTS)
    direct.append(events(direct, "e1", "e2"), Once("writer", 4))
    direct.append(events(direct, "e3", rating=2.5), None)
    found = store.read(LIVE_EVENTS).orderBy("event_id").collect()
    assert [row.event_id for row in found] == ["e1", "e2", "e3"] and found[2].rating == 2.5
    assert found[0].timestamp.replace(tzinfo=UTC) == NOON  # the session's zone is UTC
    assert store.last_number(LIVE_EVENTS, "writer") == 4
    last = store.commits(LIVE_EVENTS, 1)[0]
    assert (last["run_id"], last["stage"], last["operation"]) == ("run-7", "stream", "WRITE")
    written = made(store, LIVE_RECOMMENDATIONS)
    written.upsert(lists(written, ["u1", "u2"], 1), None)
    [row] = store.read(LIVE_RECOMMENDATIONS).where("user_id = 'u1'").collect()
    assert [(o.rank, o.because) for o in row.offers] == [(1, {"k": "v"}), (2, None)] and row.latest == ["i9"]


def test_both_write_the_same_table_in_turn(store: TableStore, spark: SparkSession) -> None:
    """Spark marks rows as deleted and leaves the files, which the next write has to heed."""
    direct = made(store, LIVE_RECOMMENDATIONS)
    users = [f"u{n}" for n in range(50)]
    direct.upsert(lists(direct, users, 0), Once("writer", 0))
    store.delete(LIVE_RECOMMENDATIONS, F.col("user_id").isin("u1", "u2"))
    frame = spark.createDataFrame(lists(direct, ["u3", "u4", "new"], 1), LIVE_RECOMMENDATIONS.schema)
    store.upsert_once(LIVE_RECOMMENDATIONS, frame, Once("writer", 1))
    direct.upsert(lists(direct, ["u4", "u5", "u1"], 2), Once("writer", 2))
    store.compact(LIVE_RECOMMENDATIONS)
    direct.upsert(lists(direct, ["u6"], 3), None)
    store.delete(LIVE_RECOMMENDATIONS, F.col("user_id") == "u7")
    frame = spark.createDataFrame(lists(direct, ["u8"], 4), LIVE_RECOMMENDATIONS.schema)
    store.upsert_once(LIVE_RECOMMENDATIONS, frame, None)
    assert store.files(LIVE_RECOMMENDATIONS) > 1
    read = TableFolder(store._config).open(columns.LIVE_RECOMMENDATIONS)
    assert read is not None
    rows = read.table(columns.LIVE_RECOMMENDATIONS.columns)  # the service, of files of both
    direct.tidy()
    assert store.files(LIVE_RECOMMENDATIONS) == 1
    assert store.commits(LIVE_RECOMMENDATIONS, 1)[0]["operation"] == "OPTIMIZE"
    found = {row.user_id: row.batch for row in store.read(LIVE_RECOMMENDATIONS).collect()}
    assert rows is not None and set(rows["user_id"].to_pylist()) == set(found)
    assert pa.types.is_string(rows.schema.field("user_id").type)
    assert {o["item_id"] for offers in rows["offers"].to_pylist() for o in offers} == {"i1"}
    wanted = {user: 0 for user in users if user not in ("u1", "u2", "u7")}
    assert found == {**wanted, "u8": 4, "u3": 1, "new": 1, "u4": 2, "u5": 2, "u1": 2, "u6": 3}
    assert store.read(LIVE_RECOMMENDATIONS).count() == len(found)
    assert store.last_number(LIVE_RECOMMENDATIONS, "writer") == 2
    size, version = direct.size(), store.version(LIVE_RECOMMENDATIONS)
    assert size == store.size(LIVE_RECOMMENDATIONS) > 0
    # It is left to Spark where it has grown too large.
    assert not direct.upsert(lists(direct, ["u6"], 5), Once("writer", 5), size - 1)
    assert store.version(LIVE_RECOMMENDATIONS) == version
    assert direct.upsert(lists(direct, ["u6"], 5), Once("writer", 5), size)
    assert store.version(LIVE_RECOMMENDATIONS) == version + 1


@pytest.mark.parametrize(
    "changes",
    [{"weight": math.nan}, {"weight": math.inf}, {"weight": -1.0}, {"user_id": None}],
)
def test_what_the_contract_forbids_is_refused(store: TableStore, changes: dict[str, Any]) -> None:
    direct = made(store, LIVE_EVENTS)
    direct.append(events(direct, "kept"), None)
    rows = events(direct, "secret-id")
    [(name, value)] = changes.items()
    kind = direct.schema.field(name).type
    broken = rows.set_column(rows.schema.get_field_index(name), name, pa.array([value], kind))
    with pytest.raises(TableError) as refused:
        direct.append(broken, None)
    assert "secret-id" not in "".join(traceback.format_exception(refused.value))
    assert [row.event_id for row in store.read(LIVE_EVENTS).collect()] == ["kept"]


def test_an_id_that_is_empty_is_refused_in_a_merge(store: TableStore) -> None:
    direct = made(store, LIVE_RECOMMENDATIONS)
    with pytest.raises(TableError, match="keeps its last version"):
        direct.upsert(lists(direct, [""], 0), None)
    assert store.read(LIVE_RECOMMENDATIONS).count() == 0


def test_a_commit_between_is_a_conflict(store: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = made(store, LIVE_RECOMMENDATIONS)
    direct.upsert(lists(direct, ["u1"], 0), None)
    direct.upsert(lists(direct, ["u2"], 0), None)
    before = direct._open()
    store.compact(LIVE_RECOMMENDATIONS)
    with monkeypatch.context() as patch:
        patch.setattr(Direct, "_open", lambda _: before)
        with pytest.raises(WriteConflict, match="another run"):
            direct.upsert(lists(direct, ["u1"], 1), None)
    assert {row.batch for row in store.read(LIVE_RECOMMENDATIONS).collect()} == {0}
    direct.upsert(lists(direct, ["u1"], 1), None)
    assert sorted(row.batch for row in store.read(LIVE_RECOMMENDATIONS).collect()) == [0, 1]


def test_a_restore_shuts_it_out(store: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = made(store, LIVE_EVENTS)

    def on() -> Iterator[None]:
        raise TableError("being restored")

    monkeypatch.setattr(store, "refuse_during_restore", on)
    for write in (direct.append, direct.upsert):
        with pytest.raises(TableError, match="being restored"):
            write(events(direct, "e1"), None)
    for upkeep in (direct.tidy, direct.free):
        with pytest.raises(TableError, match="being restored"):
            upkeep()


def test_a_full_disk_is_told_as_one(spark: SparkSession, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=2) as disk:
        fill(TableStore(spark, TablesConfig(root=str(disk / "tables")), STAMP))


def fill(store: TableStore) -> None:
    direct = made(store, LIVE_EVENTS)
    direct.append(events(direct, "e0"), None)
    version = store.version(LIVE_EVENTS)
    with pytest.raises(DiskSpaceError, match="Make room"):
        for number in range(200):
            many = [
                f"e{number}-{n}-{hashlib.sha256(bytes([n % 256, number])).hexdigest()}" for n in range(5_000)
            ]
            direct.append(events(direct, *many), None)
    assert store.version(LIVE_EVENTS) >= version and store.read(LIVE_EVENTS).count() % 5_000 == 1


def test_a_table_that_was_moved_or_asks_for_more_is_not_written(
    store: TableStore, spark: SparkSession
) -> None:
    direct = made(store, LIVE_EVENTS)
    Path(direct.path).rename(Path(direct.path).with_name("elsewhere"))
    with pytest.raises(TableError, match="cannot be read"):
        direct.append(events(direct, "e1"), None)
    assert not Path(direct.path).exists()
    store.ensure(LIVE_EVENTS)
    with pytest.raises(TableError, match="moved or made anew"):
        direct.append(events(direct, "e1"), None)
    spark.sql(
        f"ALTER TABLE {store._sql_name(LIVE_EVENTS)} SET TBLPROPERTIES ('delta.enableRowTracking' = 'true')"
    )
    with pytest.raises(TableError, match="rowTracking"):
        Direct.on(store, LIVE_EVENTS)


def test_tables_that_only_spark_can_write_are_left_to_it(
    store: TableStore, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = replace(LIVE_EVENTS, checks={**LIVE_EVENTS.checks, "more": "size(split(user_id, ' ')) > 0"})
    store.ensure(older)
    with pytest.raises(TableError, match="another release"):
        Direct.on(store, LIVE_EVENTS)
    store.ensure(LIVE_RECOMMENDATIONS)
    for place, told in (
        ("hdfs://name/tables", "not hdfs://"),
        ("s3a://bucket/tables", "writers of one kind"),
        (str(tmp_path / "elsewhere"), "cannot be read"),
    ):
        with monkeypatch.context() as patch, pytest.raises(TableError, match=told):
            patch.setattr(store, "place", lambda _, place=place: place)
            Direct.on(store, LIVE_RECOMMENDATIONS)
    other = TableStore(spark, TablesConfig(root=str(tmp_path / "other")), STAMP)
    other.ensure(LIVE_RECOMMENDATIONS)
    with monkeypatch.context() as patch, pytest.raises(TableError, match="moved or made anew"):
        patch.setattr(store, "place", lambda table: other.place(table))
        Direct.on(store, LIVE_RECOMMENDATIONS)
    assert direct.plain_path("file:///srv/tables", "t") == "/srv/tables"
    assert INTERACTIONS.checks.items() <= LIVE_EVENTS.checks.items()
