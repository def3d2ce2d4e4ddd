"""A study: the trials made on the same interactions with the same set-up, found again by its fingerprint."""

from __future__ import annotations

import hashlib

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark import __version__
from vizrec_spark.config.models import AlsConfig, TuneConfig
from vizrec_spark.errors import TableError
from vizrec_spark.kernels.trials import Settings, best
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import INTERACTIONS, TUNING_TRIALS
from vizrec_spark.tables.trials import trials_of

_NO_PART_OF_THE_STUDY = {"settings", "checkpoint_dir", "checkpoint_interval", "model_dir", "loss_sample"}
_WHEN_TO_STOP = {"trials", "patience", "output"}


def study_id(interactions: DataFrame, als: AlsConfig, tune: TuneConfig) -> str:
    """A fingerprint of the data, the space, and what is not searched. Runs a job.

    als: the settings that the search begins with.
    """
    digest = interactions.agg(F.bit_xor(F.xxhash64(*interactions.columns)), F.count(F.lit(1))).collect()[0]
    fixed = als.model_dump_json(exclude=_NO_PART_OF_THE_STUDY)
    space = tune.model_dump_json(exclude=_WHEN_TO_STOP)
    text = f"{__version__}|{fixed}|{space}|{tuple(digest)}"
    return "tune-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def best_of_study(tables: TableStore, als: AlsConfig, tune: TuneConfig) -> Settings:
    """The best settings that job `tune` found for the interactions of `tables`, beginning with `als`.

    Raises: TableError where there is no such study.
    """
    study = study_id(tables.pinned(INTERACTIONS), als, tune)
    tried = trials_of(tables, TUNING_TRIALS, study)
    if not tried:
        raise TableError(
            f"No trial of study {study} is in {tables.location(TUNING_TRIALS)}: run job `tune` on these tables with "
            "this configuration first, or set als.settings to configured."
        )
    return tried[best(tried)].settings
