"""Candidates in a file: its name, and the search for ids."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.errors import TableError
from vizrec_spark.retrieval.meeting import met_by, whole_meetings
from vizrec_spark.retrieval.shared import Candidates, _kept, _Writer, as_matrix
from vizrec_spark.scratch import claimed, remove_abandoned


def chunk(ids: list[str], values: np.ndarray) -> pa.Table:
    lists = pa.array(values.tolist(), pa.list_(pa.float32()))
    return pa.table({"id": ids, "factors": lists, "eligible": [True] * len(ids)})


def test_the_name_of_the_file_does_not_depend_on_the_chunks(tmp_path: Path) -> None:
    ids, values = list("abcdefg"), np.arange(21, dtype=np.float32).reshape(7, 3)
    names = set()
    for step in (1, 2, 7):
        (tmp_path / str(step)).mkdir()
        writer = _Writer(tmp_path / str(step))
        for first in range(0, 7, step):
            writer.add(chunk(ids[first : first + step], values[first : first + step]))
        names.add(writer.finish(tmp_path).name)
    assert len(names) == 1


def test_the_folder_of_a_killed_process_goes_when_the_next_makes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "vizrec-factors-left"
    left.mkdir()
    with claimed(left):
        pass  # the claim stays, its lock goes
    mine = _kept.__wrapped__()
    assert list(tmp_path.iterdir()) == [mine]
    assert remove_abandoned(tmp_path) == [], "it is in use"


@given(
    known=st.sets(st.text(max_size=4), max_size=20),
    asked=st.lists(st.none() | st.text(max_size=4), max_size=30),
)
def test_ids_are_found_where_they_stand(known: set[str], asked: list[str | None]) -> None:
    ids = sorted(known, key=str.encode)
    offered = Candidates(pa.array(ids, pa.large_string()), np.zeros((len(ids), 1), np.float32), None)
    wanted = [ids.index(a) if a in known else -1 for a in asked]
    assert offered.positions(pa.array(asked, pa.string())).tolist() == wanted
    assert offered.positions(pa.array(["", *asked], pa.string()).slice(1)).tolist() == wanted


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[1.0, 2.0], [1.0]], "another length"),
        ([[1.0, 2.0], None], "null"),
        ([[1.0, None]], "finite"),
        ([[1.0, float("inf")]], "finite"),
    ],
)
def test_factors_that_are_no_matrix_are_named(lists: list[list[float]], message: str) -> None:
    with pytest.raises(TableError, match=message):
        as_matrix(pa.array(lists, pa.list_(pa.float32())), 2, "users")


def test_a_meeting_never_ends_within_an_id_and_a_shared_hash_mixes_nothing() -> None:
    """Two ids of one hash, and one id with more pairs than a batch."""
    rows = [
        (1, "a", [1.0], None),
        (1, "b", None, "y"),
        (1, "a", None, "x"),
        (1, "b", [2.0], None),
        (1, "a", None, "gone"),
        *((2, "c", None, "z") for _ in range(9)),
        (2, "c", [3.0], None),
        (3, "nobody", None, "x"),
    ]
    kinds = {
        "_hash": pa.int64(),
        "user_id": pa.string(),
        "factors": pa.list_(pa.float32()),
        "_seen": pa.string(),
    }
    columns = zip(*rows, strict=True)
    whole = pa.RecordBatch.from_arrays(
        [pa.array(column, kind) for column, kind in zip(columns, kinds.values(), strict=True)], list(kinds)
    )
    offered = Candidates(pa.array(["x", "y", "z"], pa.large_string()), np.zeros((3, 1), np.float32), None)
    found: dict[str, list[int]] = {}
    for meeting in whole_meetings((whole.slice(i, 1) for i in range(len(rows))), 1, 1):
        block, seen = met_by(meeting, "user_id", offered)
        for at, user in enumerate(block.column("user_id").to_pylist()):
            assert user not in found
            found[user] = seen.indices[seen.indptr[at] : seen.indptr[at + 1]].tolist()
    assert found == {"a": [0], "b": [1], "c": [2] * 9}
