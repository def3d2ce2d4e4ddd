"""Job `holdout`: the training window as tables of its own, for models that are to be judged on the rest."""

from __future__ import annotations

import shlex

from vizrec_spark.config import Config
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.evaluate.protocol import split_by
from vizrec_spark.evaluate.splits import known_before_test
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import (
    EMBEDDINGS,
    ENCODERS,
    IMAGES,
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    PROMOTIONS,
    SIMILARITY_QUALITY,
    USERS,
)

# Promotions only for their settings, which `als.settings` may ask for.
_SHARED = (ITEMS, USERS, IMAGES, ENCODERS, EMBEDDINGS, ITEM_NEIGHBORS, SIMILARITY_QUALITY, PROMOTIONS)


def run(context: StageContext) -> StageResult:
    """Writes tables below `evaluate.training`: interactions of training and validation, and the rest as it is.

    What comes from pictures and catalogue alone knows nothing of users and is cloned without copying data. A table
    that would not change is left alone, so that what was learned from it does not look older than it.
    Raises: ConfigError when `evaluate.training` is where the tables are.
    """
    config = context.config.evaluate
    training = training_tables(context)
    if training.place(INTERACTIONS) == context.tables.place(INTERACTIONS):
        raise ConfigError(
            f"evaluate.training is {config.training}, where the tables are: it must be another folder, for job "
            "`holdout` writes its own interactions there."
        )
    cloned = [training.clone_from(table, context.tables) for table in _SHARED if context.tables.exists(table)]
    split = split_by(context.tables.pinned(INTERACTIONS), config)
    same = " AND ".join(f"old.`{c}` <=> new.`{c}`" for c in INTERACTIONS.columns if c not in INTERACTIONS.key)
    written = training.sync(INTERACTIONS, known_before_test(split), unchanged=same)
    note = (
        f"{written.rows:,} interactions are for training and validation ({config.protocol}); now train on them: "
        f"run als, recommend, ... with {training_arguments(context.config)}"
    )
    return StageResult([*cloned, written], [note])


def training_tables(context: StageContext) -> TableStore:
    """The tables below `evaluate.training`."""
    return TableStore(
        context.spark, TablesConfig(root=context.config.evaluate.training), context.tables.stamp
    )


def training_arguments(config: Config) -> str:
    """What makes a stage of this configuration work on the training window: a catalog would win over the folder."""
    catalog = " --set tables.catalog=null" if config.tables.catalog is not None else ""
    return f"--set tables.root={shlex.quote(config.evaluate.training)}{catalog}"


STAGE = Stage("holdout", "set the training window apart, for models that are to be judged", run)
