"""What lists were learned from: the tables beside them, and when they were made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pyspark.sql import DataFrame

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.errors import LeakFound, TableError
from vizrec_spark.evaluate.leakage import leaked_factors, leaked_interactions, refuse_leaks
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.foreign import origin_of_lists
from vizrec_spark.tables.schemas import INTERACTIONS, ITEM_FACTORS, RECOMMENDATIONS


def refuse_contaminated(
    context: StageContext, models: Mapping[str, str], training: TableStore, split: DataFrame
) -> None:
    """Lets no model be measured that can have seen the test part of `split`; some actions a training window.

    models: location of the lists by name. The training window of a model is table `interactions` beside its lists, if
    there is one; `training` is looked at in any case. Lists without one, made elsewhere, say nothing about what they
    were learned from, and are taken at their word.

    Raises: LeakFound for the lists of the pipeline itself, which learns from the whole log; for a training window that
    holds rows of the test part; for factors of items that nobody had met; and for factors or lists that are older
    than the training window beside them, and so were learned from another one.
    """
    windows: dict[str | None, tuple[list[str], TableStore]] = {training.place(INTERACTIONS): ([], training)}
    for name, location in models.items():
        origin = origin_of_lists(context.spark, location)
        if origin.place == context.tables.place(RECOMMENDATIONS):
            raise LeakFound(
                f"Model {name!r} is {location}, the pipeline's own table: it has learned from the whole log, which it "
                f"would be tested on. Name lists that were made below {context.config.evaluate.training}."
            )
        beside = _beside(context, origin.beside)
        if beside is not None:
            _refuse_older(name, beside, origin.changed_at)
        tables = beside or training
        windows.setdefault(tables.place(INTERACTIONS), ([], tables))[0].append(name)
    for names, tables in windows.values():
        told = ", ".join(names) or context.config.evaluate.training
        leaks = {"interactions": leaked_interactions(tables.read(INTERACTIONS), split)}
        if tables.exists(ITEM_FACTORS):
            leaks["factors"] = leaked_factors(tables.read(ITEM_FACTORS), split)
        refuse_leaks(told, **leaks)


def _beside(context: StageContext, config: TablesConfig | None) -> TableStore | None:
    """The tables of `config`, if this package has set a training window apart there."""
    if config is None:
        return None
    tables = TableStore(context.spark, config, context.tables.stamp)
    try:
        tables.version(INTERACTIONS)
    except TableError:  # there is none, or somebody else's
        return None
    return tables


def _refuse_older(name: str, tables: TableStore, lists: datetime | None) -> None:
    """Raises: LeakFound for lists, or factors beside them, that are older than the training window."""
    window = tables.changed_at(INTERACTIONS)
    if window is None:
        return
    made = {"lists": lists}
    if tables.exists(ITEM_FACTORS):
        made["factors"] = tables.changed_at(ITEM_FACTORS)
    for what, moment in made.items():
        if moment is None or moment < window:
            raise LeakFound(
                f"Model {name!r} was not learned from the training window beside it: its {what} were written "
                f"{'long ago' if moment is None else f'at {moment}'}, {tables.location(INTERACTIONS)} was changed at "
                f"{window}. Run als, recommend, ... on it again."
            )
