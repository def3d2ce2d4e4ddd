"""What fails beside the stream does not end it; what must not be written is not."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql.pandas.types import to_arrow_schema

from vizrec_spark.errors import TableError
from vizrec_spark.stream.commits import in_peace
from vizrec_spark.stream.lists import _nested
from vizrec_spark.stream.resident import Latest
from vizrec_spark.tables.schemas.stream import OFFER


def failed(error: Exception) -> Future[Any]:
    coming: Future[Any] = Future()
    coming.set_exception(error)
    return coming


@pytest.mark.parametrize(
    "error", [TableError("being restored"), ConnectionError("no answer"), OSError("lost")]
)
def test_a_model_that_cannot_be_taken_up_leaves_the_one_before(error: Exception) -> None:
    latest = Latest.__new__(Latest)  # without tables
    latest.resident, latest.loads = "before", 0  # type: ignore[assignment]
    latest._versions, latest._wanted, latest._failing = {"a": 1}, {"a": 2}, None  # type: ignore[assignment]
    for _ in range(2):
        latest._take(failed(error))
        assert (latest.resident, latest.loads, latest._versions) == ("before", 0, {"a": 1})
    coming: Future[Any] = Future()
    coming.set_result("new")
    latest._take(coming)
    assert (latest.resident, latest.loads, latest._versions, latest._failing) == ("new", 1, {"a": 2}, None)


@pytest.mark.parametrize("error", [TableError("another run is on"), TimeoutError("the store")])
def test_upkeep_that_fails_is_left_for_the_next_time(error: Exception) -> None:
    tried = []

    def upkeep() -> None:
        tried.append(error)
        raise error

    in_peace(upkeep)
    assert tried == [error]


@pytest.mark.parametrize("ranks", [[0], [1, 1], [2, 1], [1, 3]])
def test_a_list_whose_ranks_are_not_in_order_is_not_written(ranks: list[int]) -> None:
    """The table has no constraint on them: none that each of its writers could read."""

    def offers(*told: tuple[str, int]) -> pa.RecordBatch:
        kinds = to_arrow_schema(OFFER)
        rows = [{"user_id": user, "rank": rank, "item_id": "i"} for user, rank in told]
        return pa.RecordBatch.from_pylist(rows, pa.schema([("user_id", pa.string()), *kinds]))

    users = pa.array(["a", "b"])
    sound = offers(("a", 1), ("a", 2), ("b", 1))
    assert [len(one) for one in _nested(sound, users).to_pylist()] == [2, 1]
    with pytest.raises(TableError, match="ranks 1, 2, 3"):
        _nested(offers(("a", 1), *(("b", rank) for rank in ranks)), users)
