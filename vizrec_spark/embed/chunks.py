"""Cut the pictures that wait into chunks, each of which becomes one commit, and a chunk into tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

CHUNK_PER_CORE = 10_000
"""Pictures of a chunk for each core: some minutes of work, beside which a commit costs nothing."""

LARGEST_CHUNK = 1_000_000
"""Pictures of a chunk on any cluster: as many keys as a chunk's are broadcast, about 150 MB."""

_TASK_PICTURES = 1_000
_TASK_BYTES = 32 * 1024 * 1024
_TASKS_PER_CORE = 8
_SMALLEST_TASK = 64  # pictures; below it the start of a task would show


class DataFile(NamedTuple):
    """A data file of the table `images`: its path, how many pictures wait in it, and their bytes."""

    path: str
    pictures: int
    bytes: int


class Chunk(NamedTuple):
    """Part `part` of `parts`, by hash, of the pictures that wait in `files`."""

    files: tuple[str, ...]
    part: int
    parts: int
    pictures: int
    bytes: int


def chunk_size(asked: int | None, cores: int) -> int:
    """Pictures of a chunk: `asked`, or `CHUNK_PER_CORE` for each core; `LARGEST_CHUNK` at most."""
    return min(asked or CHUNK_PER_CORE * cores, LARGEST_CHUNK)


def plan_chunks(files: Iterable[DataFile], size: int) -> list[Chunk]:
    """Chunks of about `size` pictures that together hold each picture once.

    Whole files go together while they fit, so that each is read for one chunk only; a file with more pictures is
    cut by hash into equal parts, and read once for each.
    """
    chunks: list[Chunk] = []
    open_files: list[DataFile] = []
    for file in sorted(files):
        if open_files and sum(f.pictures for f in open_files) + file.pictures > size:
            chunks += _closed(open_files, size)
            open_files = []
        open_files.append(file)
    return chunks + _closed(open_files, size)


def task_count(pictures: int, size_bytes: int, cores: int) -> int:
    """Tasks for `pictures` of `size_bytes` together: enough for each core that none waits long for the last.

    None has much more than 32 MiB or 1,000 pictures, so that a retry is cheap, and where there are fewer, none less
    than about 64, so that its start does not show.
    """
    enough = max(-(-pictures // _TASK_PICTURES), -(-size_bytes // _TASK_BYTES))
    return max(enough, min(_TASKS_PER_CORE * cores, -(-pictures // _SMALLEST_TASK)), 1)


def _closed(files: Sequence[DataFile], size: int) -> list[Chunk]:
    pictures, size_bytes = sum(f.pictures for f in files), sum(f.bytes for f in files)
    parts = -(-pictures // size)
    names = tuple(f.path for f in files)
    # Rounded so that the parts add up to the whole.
    return [
        Chunk(names, part, parts, (pictures + part) // parts, (size_bytes + part) // parts)
        for part in range(parts)
    ]
