"""The encoder of this Python worker: loaded once and kept until another is asked for."""

from __future__ import annotations

from pathlib import Path

from vizrec_spark.embed.choice import Precision, RuntimeName
from vizrec_spark.embed.runtimes import Runtime, load_runtime

_loaded: dict[tuple[str, str], Runtime] = {}
_loads = 0


def process_runtime(
    path: Path,
    encoder_id: str,
    *,
    name: RuntimeName = "tensorflow",
    precision: Precision = "float32",
    batch_size: int | None = None,
    threads: int = 1,
) -> Runtime:
    """The runtime of `encoder_id` in this process, loaded on the first call.

    Raises: EncoderError as `load_runtime`.
    """
    global _loads
    key = (encoder_id, f"{name} {precision} {batch_size} {threads}")
    if key not in _loaded:
        # One encoder at a time: a worker lives longer than a job, and its memory is counted.
        _loaded.clear()
        _loaded[key] = load_runtime(name, path, precision=precision, batch_size=batch_size, threads=threads)
        _loads += 1
    return _loaded[key]


def load_count() -> int:
    """How many encoder files this process has loaded so far."""
    return _loads
