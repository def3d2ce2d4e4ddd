"""Which settings `als.settings` means: those of the configuration, of the promoted model, or of the best trial."""

from __future__ import annotations

from vizrec_spark.als.tuning.study import best_of_study
from vizrec_spark.config import Config
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.config.models.als import with_settings
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.models import in_service


def chosen_settings(tables: TableStore, config: Config) -> AlsConfig:
    """Section `als` with what is learned with: see `als.settings` in conf/base.yml.

    Raises: TableError for `tuned` where these tables have no such study.
    """
    begun = first_settings(tables, config)
    if config.als.settings != "tuned":
        return begun
    return with_settings(begun, best_of_study(tables, begun, config.tune))


def first_settings(tables: TableStore, config: Config) -> AlsConfig:
    """What a search begins with: the promoted settings where `als.settings` is not `configured` and there are any."""
    if config.als.settings == "configured":
        return config.als
    promoted = in_service(tables)
    return config.als if promoted is None else with_settings(config.als, promoted.settings)
