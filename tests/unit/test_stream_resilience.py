"""What fails beside the stream does not end it: a new model in the background, upkeep behind a micro-batch."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from vizrec_spark.errors import TableError
from vizrec_spark.stream.commits import in_peace
from vizrec_spark.stream.resident import Latest


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
