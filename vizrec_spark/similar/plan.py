"""Which physical plan: vectors shared by memory map, or a join of shards that never gathers them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyspark.sql import SparkSession

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import ConfigError, DiskSpaceError
from vizrec_spark.stage import log

Plan = Literal["shared", "partitioned"]

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True)
class Sizes:
    """What a plan is chosen from; bytes. reduced: the matrix that all workers must have at hand; whole: the vectors;
    limit: for the reduced one; free: on the disk of the shared folder."""

    n_items: int
    reduced: int
    whole: int
    limit: int
    one_machine: bool
    free: int

    @property
    def files(self) -> int:
        """What the shared folder holds: vectors, reduced points, squared lengths, and some 100 bytes an item of ids."""
        return self.whole + self.reduced + 104 * self.n_items


def sizes_of(spark: SparkSession, n_items: int, dimension: int, config: SimilarConfig) -> Sizes:
    """Sizes for so many vectors of `dimension` components; the limit is the configured one or a quarter of `memory`."""
    width = min(config.dimensions, dimension) + (config.metric == "euclidean")
    limit = memory() // 4 if config.shared_max_bytes is None else config.shared_max_bytes
    local = on_one_machine(spark.sparkContext.master)
    free = shutil.disk_usage(_existing(Path(config.shared_dir or tempfile.gettempdir()))).free
    return Sizes(n_items, 4 * n_items * width, 4 * n_items * dimension, limit, local, free)


def on_one_machine(master: str | None) -> bool:
    """Whether this Spark master runs all tasks on the driver's machine; local-cluster counts as a cluster."""
    master = master or "local"
    return master.startswith("local") and not master.startswith("local-cluster")


def memory(limits: Sequence[Path] = _CGROUP_LIMITS) -> int:
    """Bytes of this machine, or of the container where `limits` (files of a cgroup, version 2 or 1) say less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in limits:
        try:
            found.append(int(file.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(found)


def refuse_impossible(master: str | None, config: SimilarConfig) -> None:
    """Raises: ConfigError for settings that need one machine where `master` is a cluster's."""
    if on_one_machine(master):
        return
    if config.plan == "shared":
        raise ConfigError(
            "similar.plan is shared, which is for a master local[...]: choose auto or partitioned on a cluster."
        )
    _refuse_partitioned(config)


def choose_plan(sizes: Sizes, config: SimilarConfig) -> Plan:
    """``shared`` in local mode, while the reduced matrix fits the limit and all files fit the disk.

    Workers write into one memory-mapped file, which several hosts cannot do to a network folder without losing each
    other's pages.

    Raises: ConfigError when method ``flat`` or lists by category are asked for and the plan must be partitioned;
    DiskSpaceError when ``shared`` is demanded and the folder's disk is too full.
    """
    if config.plan == "shared" and sizes.files > sizes.free:
        raise DiskSpaceError(
            f"expected {_told(sizes.files)} free for the vectors of {sizes.n_items:,} items in "
            f"{config.shared_dir or tempfile.gettempdir()}, found {_told(sizes.free)}: name a roomier folder in "
            "similar.shared_dir, or set similar.plan to partitioned."
        )
    fits = sizes.one_machine and sizes.reduced <= sizes.limit and sizes.files <= sizes.free
    chosen: Plan = "partitioned"
    if config.plan == "shared" or (config.plan == "auto" and fits):
        chosen = "shared"
    if chosen == "partitioned":
        _refuse_partitioned(config)
    log.info(
        "similar: %s plan for %s items: %s of reduced points (limit %s), %s of files (free %s)",
        *(chosen, f"{sizes.n_items:,}"),
        *map(_told, (sizes.reduced, sizes.limit, sizes.files, sizes.free)),
    )
    return chosen


def _refuse_partitioned(config: SimilarConfig) -> None:
    if config.method == "flat":
        raise ConfigError(
            "similar.method flat compares everything with everything, which the partitioned plan would have to send to "
            "every shard: choose auto, cells, lsh or exact."
        )
    if config.per_category:
        raise ConfigError(
            "similar.per_category searches the members of each category, which needs the shared plan, for a master "
            "local[...]: set it to 0, or similar.plan to shared there."
        )


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.absolute().parent)


def _told(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"
