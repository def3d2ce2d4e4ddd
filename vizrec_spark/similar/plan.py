"""Which physical plan: vectors shared by memory map, or a join of shards that never gathers them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyspark.sql import SparkSession

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.stage import log

Plan = Literal["shared", "partitioned"]


@dataclass(frozen=True)
class Sizes:
    """What a plan is chosen from; bytes. reduced: the matrix that all workers must have at hand; whole: the vectors."""

    n_items: int
    reduced: int
    whole: int
    limit: int
    one_machine: bool


def sizes_of(spark: SparkSession, n_items: int, dimension: int, config: SimilarConfig) -> Sizes:
    """Sizes for so many vectors of `dimension` components; the limit is the configured one or a quarter of memory."""
    width = min(config.dimensions, dimension) + (config.metric == "euclidean")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory // 4 if config.shared_max_bytes is None else config.shared_max_bytes
    master = spark.sparkContext.master or "local"
    local = master.startswith("local") and not master.startswith("local-cluster")
    return Sizes(n_items, 4 * n_items * width, 4 * n_items * dimension, limit, local)


def choose_plan(sizes: Sizes, config: SimilarConfig) -> Plan:
    """``shared`` where there is a folder that all workers see and the reduced matrix fits the limit.

    Raises: ConfigError when ``shared`` is demanded and there is no such folder.
    """
    reachable = sizes.one_machine or config.shared_dir is not None
    if config.plan == "shared" and not reachable:
        raise ConfigError(
            "similar.plan is shared, which on a cluster needs similar.shared_dir: name a folder that the driver and "
            "all executors see, or choose auto."
        )
    chosen: Plan = "partitioned"
    if config.plan == "shared" or (config.plan == "auto" and reachable and sizes.reduced <= sizes.limit):
        chosen = "shared"
    log.info(
        "similar: %s plan for %s items: %s of reduced points (limit %s), %s of vectors",
        *(chosen, f"{sizes.n_items:,}", *map(_told, (sizes.reduced, sizes.limit, sizes.whole))),
    )
    return chosen


@contextmanager
def shared_folder(config: SimilarConfig) -> Iterator[Path]:
    """A folder of this run's own, in `similar.shared_dir` or the system's temporary folder; removed at the end."""
    if config.shared_dir is not None:
        Path(config.shared_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vizrec-similar-", dir=config.shared_dir) as folder:
        yield Path(folder)


def _told(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"
