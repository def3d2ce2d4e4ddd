"""What scoring is fitted on, read from the tables: the model in use, its settings, and the frames."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.config.models.als import with_settings
from vizrec_spark.recommend.history import touched_pairs
from vizrec_spark.recommend.hybrid import Inputs
from vizrec_spark.retrieval import share_factors
from vizrec_spark.retrieval.fold_in import fold_in
from vizrec_spark.retrieval.preferences import preferences
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.models import Factors, latest_factors, promoted_factors
from vizrec_spark.tables.schemas import (
    ALS_MODELS,
    COMPARED_ITEMS,
    INTERACTIONS,
    ITEM_FACTORS,
    ITEM_NEIGHBORS,
    ITEMS,
    NEAR_DUPLICATES,
    SEGMENTS,
    SIMILARITY_QUALITY,
    USER_FACTORS,
)


def chosen_factors(context: StageContext) -> Factors:
    """The model that `recommend.model` means; none, and no factors, where there is none yet. Raises: TableError."""
    tables = context.tables
    latest = context.config.recommend.model == "latest"
    found = latest_factors(tables) if latest else promoted_factors(tables)
    if found is not None:
        return found
    nothing = (context.spark.createDataFrame([], table.schema) for table in (USER_FACTORS, ITEM_FACTORS))
    return Factors(None, *nothing)


def settings_of_model(context: StageContext, model_id: str | None) -> AlsConfig:
    """Section `als` as the model was trained with; as configured where the tables do not know.

    What it learned from is told by its settings: only models of implicit preferences have an alpha.
    """
    models = context.tables.read_or_empty(ALS_MODELS).where(F.col("model_id") == F.lit(model_id))
    row = models.select("settings").first()
    if row is None:
        return context.config.als
    trained = with_settings(context.config.als, row.settings)
    return trained.model_copy(update={"preference": "implicit" if "alpha" in row.settings else "explicit"})


def read_inputs(
    context: StageContext, learned: Factors, als: AlsConfig, encoder_id: str | None
) -> tuple[Inputs, bool]:
    """The frames, and whether there are look-alikes of the configured encoder.

    Pinned, so that what was looked at is what is used, whatever other runs write to these tables meanwhile.
    """
    tables = context.tables
    of_encoder = F.col("encoder_id") == F.lit(encoder_id)
    quality, looks, neighbors, duplicates = (
        tables.pinned_or_empty(table).where(of_encoder)
        for table in (SIMILARITY_QUALITY, COMPARED_ITEMS, ITEM_NEIGHBORS, NEAR_DUPLICATES)
    )
    measured = quality.first()
    if measured is None:
        # Stage `similar` has not ended: without the mean cosine nothing tells a strong look-alike from a weak one.
        looks, neighbors, duplicates = looks.limit(0), neighbors.limit(0), duplicates.limit(0)
    inputs = Inputs(
        tables.pinned(ITEMS),
        touched_pairs(tables.pinned(INTERACTIONS), context.config.recommend.rerank, als),
        learned.user_factors,
        learned.item_factors,
        looks,
        neighbors,
        duplicates,
        measured.mean_cosine if measured is not None else 0.0,
        tables.pinned(SEGMENTS) if tables.exists(SEGMENTS) else None,
    )
    return inputs, encoder_id is not None and measured is not None


def with_users_of_today(inputs: Inputs, interactions: DataFrame, als: AlsConfig) -> Inputs:
    """`inputs` with user factors that are solved anew, from all `interactions` against the item factors as they stand.

    Those of an older model know neither what was done since nor who came since, and a cause that is named for them
    would be none. `als`: what the model was trained with.
    """
    learned_from = preferences(interactions, als)
    return replace(inputs, user_factors=fold_in(learned_from, share_factors(inputs.item_factors), als))
