"""What is held in memory is found by an index as it is by looking at all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vizrec_spark.stream import held
from vizrec_spark.stream.held import InMemory
from vizrec_spark.tables.schemas import INTERACTIONS


class Frame:
    """The part of a Spark DataFrame that is asked for."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def select(self, *names: str) -> Frame:
        return Frame(self._rows.select(list(names)))

    def toArrow(self) -> pa.Table:  # noqa: N802
        return self._rows


def drawn(rng: np.random.Generator, n: int, first: int = 0) -> pa.Table:
    return pa.table(
        {
            "event_id": pa.array([f"e{first + k}" for k in range(n)], pa.string()),
            "user_id": pa.array([f"u{k}" for k in rng.integers(0, 40, n)], pa.string()),
            "item_id": pa.array([f"i{k}" for k in rng.integers(0, 9, n)], pa.string()),
            "event": pa.array(["view"] * n, pa.string()),
            "rating": pa.nulls(n, pa.float64()),
            "weight": rng.random(n),
            "timestamp": pa.array(np.arange(n)).cast(pa.timestamp("us", "UTC")),
        }
    )


@pytest.mark.parametrize("alike", [False, True])
def test_an_index_finds_what_a_look_at_all_rows_finds(alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = held._hashes
    if alike:  # as good as every text has the hash of another
        monkeypatch.setattr(held, "_hashes", lambda column: real(column) % np.uint64(7))
    rng = np.random.default_rng(3)
    log, live = drawn(rng, 300), drawn(rng, 200)
    memory = InMemory(*(Frame(rows) for rows in (log, live)), most=1_000)  # type: ignore[arg-type]
    for first in (200, 250, 251, 350):
        users = pa.array([f"u{k}" for k in rng.choice(60, 9, replace=False)])  # some of them unknown
        events = drawn(rng, 12, first - 6).append_column("batch", pa.array([0] * 12))
        for found, of in zip(memory.of(users), (log, live), strict=True):
            wanted = of.select(INTERACTIONS.columns).filter(pc.is_in(of["user_id"], value_set=users))
            assert found.equals(wanted)
        like, either = memory.like(events), within(live, events)
        assert set(like["event_id"].to_pylist()) >= set(live.filter(either)["event_id"].to_pylist())
        if not alike:
            assert like.equals(live.filter(either).select(like.column_names))
        tail = drawn(rng, 7, 10 * first)
        assert memory.grown(tail)
        live = pa.concat_tables([live, tail])
        assert memory.n_live == len(live)
    assert not memory.grown(drawn(rng, 1_000))
    memory.close()
    assert [len(rows) for rows in memory.of(pa.array(["u1"]))] == [0, 0]


def within(live: pa.Table, events: pa.Table) -> Any:
    return pc.or_(
        *(pc.is_in(live[name], value_set=events[name].combine_chunks()) for name in ("event_id", "user_id"))
    )


def test_nothing_held_is_found_nowhere() -> None:
    nothing = drawn(np.random.default_rng(1), 0)
    memory = InMemory(Frame(nothing), Frame(nothing), most=10)  # type: ignore[arg-type]
    assert [len(rows) for rows in memory.of(pa.array(["u1"]))] == [0, 0]
    assert len(memory.like(drawn(np.random.default_rng(1), 3))) == 0
    assert memory.grown(drawn(np.random.default_rng(1), 3)) and memory.n_live == 3
    assert len(memory.like(drawn(np.random.default_rng(1), 1))) > 0
