"""Job `holdout`: the training window as tables of its own, for models that are to be judged on the rest."""

from __future__ import annotations

import shlex

from vizrec_spark.config import Config
from vizrec_spark.config.models import EvaluateConfig, TablesConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.evaluate.protocol import split_by
from vizrec_spark.evaluate.splits import known_before_test
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import TableStore, Written
from vizrec_spark.tables.schemas import (
    COMPARED_ITEMS,
    ENCODERS,
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    NEAR_DUPLICATES,
    PROMOTIONS,
    SEGMENTS,
    SIMILARITY_QUALITY,
    USERS,
)

# What `als` and `recommend` read: not the pictures and their vectors, which are large and would be copied whenever they
# change. Promotions only for their settings, which `als.settings` may ask for.
_SHARED = (
    ITEMS,
    USERS,
    SEGMENTS,
    ENCODERS,
    ITEM_NEIGHBORS,
    SIMILARITY_QUALITY,
    COMPARED_ITEMS,
    NEAR_DUPLICATES,
    PROMOTIONS,
)


def run(context: StageContext) -> StageResult:
    """Writes tables below `evaluate.training`: interactions of training and validation, and what `als` and
    `recommend` read besides, as it is.

    What comes from pictures and catalogue alone knows nothing of users and is cloned without copying data. A table
    that would not change is left alone, so that what was learned from it does not look older than it. Each folder of
    `evaluate.training_copies` gets the same, from the same versions of all tables.
    Raises: ConfigError when a folder is where the tables are.
    """
    tables, config = context.tables, context.config.evaluate
    folders = [_tables_below(context, root) for root in (config.training, *config.training_copies)]
    for folder, root in zip(folders, (config.training, *config.training_copies), strict=True):
        if folder.place(INTERACTIONS) == tables.place(INTERACTIONS):
            raise ConfigError(
                f"evaluate.training or a copy of it is {root}, where the tables are: it must be another folder, for "
                "job `holdout` writes its own interactions there."
            )
    shared = [(table, tables.version(table)) for table in _SHARED if tables.exists(table)]
    log_version = version_of_log(tables, config)
    split = split_by(tables.read_at(INTERACTIONS, log_version), config)
    same = " AND ".join(f"old.`{c}` <=> new.`{c}`" for c in INTERACTIONS.columns if c not in INTERACTIONS.key)
    written: list[Written] = []
    for folder in folders:
        written += [folder.clone_from(table, tables, version) for table, version in shared]
        written.append(folder.sync(INTERACTIONS, known_before_test(split), unchanged=same))
    note = (
        f"{written[-1].rows:,} interactions are for training and validation ({config.protocol}); now train on them: "
        f"run als, recommend, ... with {training_arguments(context.config)}"
    )
    return StageResult(written, [note], {"interactions_version": float(log_version)})


def version_of_log(tables: TableStore, config: EvaluateConfig) -> int:
    """The version of table `interactions` that is split: `evaluate.log_version`, or the latest.

    Raises: TableError as `TableStore.version`.
    """
    return tables.version(INTERACTIONS) if config.log_version is None else config.log_version


def training_tables(context: StageContext) -> TableStore:
    """The tables below `evaluate.training`."""
    return _tables_below(context, context.config.evaluate.training)


def _tables_below(context: StageContext, root: str) -> TableStore:
    return TableStore(context.spark, TablesConfig(root=root), context.tables.stamp)


def training_arguments(config: Config) -> str:
    """What makes a stage of this configuration work on the training window: a catalog would win over the folder."""
    catalog = " --set tables.catalog=null" if config.tables.catalog is not None else ""
    return f"--set tables.root={shlex.quote(config.evaluate.training)}{catalog}"


STAGE = Stage("holdout", "set the training window apart, for models that are to be judged", run)
