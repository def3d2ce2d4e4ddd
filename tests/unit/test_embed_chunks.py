"""Chunks and tasks: every picture once, no file read for two chunks without need, no giant and no dwarf."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.embed.chunks import LARGEST_CHUNK, Chunk, DataFile, chunk_size, plan_chunks, task_count

FILES = st.lists(st.integers(1, 5000), max_size=30).map(
    lambda counts: [DataFile(f"f{i:02}", n, 10 * n) for i, n in enumerate(counts)]
)


@given(FILES, st.integers(1, 3000))
def test_each_picture_is_in_one_chunk(files: list[DataFile], size: int) -> None:
    share = {file.path: Fraction(0) for file in files}
    chunks = plan_chunks(files, size)
    assert sum(chunk.pictures for chunk in chunks) == sum(file.pictures for file in files)
    for chunk in chunks:
        assert 0 <= chunk.part < chunk.parts
        assert chunk.pictures <= size
        for name in chunk.files:
            share[name] += Fraction(1, chunk.parts)
    assert set(share.values()) <= {1}


def test_whole_files_go_together_and_a_large_one_is_cut() -> None:
    files = [DataFile("a", 40, 1), DataFile("b", 60, 1), DataFile("c", 10, 1), DataFile("d", 250, 9)]
    assert plan_chunks(files, 100) == [
        Chunk(("a", "b"), 0, 1, 100, 2),
        Chunk(("c",), 0, 1, 10, 1),
        Chunk(("d",), 0, 3, 83, 3),
        Chunk(("d",), 1, 3, 83, 3),
        Chunk(("d",), 2, 3, 84, 3),
    ]
    assert plan_chunks([], 100) == []


def test_tasks_follow_pictures_bytes_and_cores() -> None:
    assert task_count(1, 10, 8) == 1
    assert task_count(640, 10, 100) == 10  # none below 64 pictures
    assert task_count(100_000, 10, 2) == 100  # none above 1,000
    assert task_count(2_000, 10, 2) == 16
    assert task_count(100, 3200 << 20, 2) == 100  # 32 MiB each


def test_a_chunk_grows_with_the_cores_up_to_a_bound() -> None:
    assert chunk_size(None, 2) == 20_000
    assert chunk_size(None, 10_000) == chunk_size(2 * LARGEST_CHUNK, 2) == LARGEST_CHUNK
    assert chunk_size(7, 10_000) == 7
