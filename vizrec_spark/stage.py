"""What every stage is: a name and a function that reads tables, calls transformations and writes tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import SparkSession

from vizrec_spark.config import Config
from vizrec_spark.errors import VizrecError
from vizrec_spark.tables import TableStore, Written

log = logging.getLogger("vizrec")


@dataclass(frozen=True)
class StageContext:
    """What a stage is handed: the session, the validated configuration and the tables, stamped for this run."""

    spark: SparkSession
    config: Config
    tables: TableStore
    run_id: str


@dataclass(frozen=True)
class StageResult:
    """What a stage did: the tables (or file) that it wrote, sentences worth telling a person, and figures by name.

    takes_back: the runs and stages whose records no longer stand, where that is what it did.
    """

    written: Sequence[Written] = ()
    notes: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    takes_back: Sequence[tuple[str, str]] = ()


def ended(error: VizrecError, result: StageResult) -> VizrecError:
    """`error` of a stage that came to its end all the same: what it did is recorded before the error is told."""
    error.done = result
    return error


@dataclass(frozen=True)
class Stage:
    """A stage by name; `run` may be repeated at any time.

    `check` raises a VizrecError for a configuration that the stage cannot work with; it starts neither Spark nor
    TensorFlow, so that it can be asked before the first stage of a run. `brief`: a process that
    runs nothing else is over before compiling its code well has paid. `conf`: Spark settings for a process that runs
    nothing else, where the configuration does not say otherwise.
    """

    name: str
    summary: str
    run: Callable[[StageContext], StageResult]
    check: Callable[[Config], None] | None = None
    brief: bool = False
    conf: Mapping[str, str] = field(default_factory=dict)
