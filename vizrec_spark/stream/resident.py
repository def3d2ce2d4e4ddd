"""What every micro-batch needs of the last batch run, loaded once for each version of what it comes from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from vizrec_spark.als.preferences import Whole, whole_of
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.errors import TableError
from vizrec_spark.kernels.fold_in import gram
from vizrec_spark.recommend.hybrid import Hybrid, fit_hybrid
from vizrec_spark.recommend.reading import chosen_factors, read_inputs, settings_of_model
from vizrec_spark.recommend.weights import blend_of
from vizrec_spark.retrieval.shared import Candidates, as_matrix
from vizrec_spark.stage import StageContext, log
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import (
    ALS_MODELS,
    BLEND_WEIGHTS,
    COMPARED_ITEMS,
    ENCODERS,
    INTERACTIONS,
    ITEM_FACTORS,
    ITEM_NEIGHBORS,
    ITEMS,
    NEAR_DUPLICATES,
    PROMOTIONS,
    SIMILARITY_QUALITY,
    USER_FACTORS,
)

COMES_FROM = (
    ITEMS,
    ENCODERS,
    COMPARED_ITEMS,
    ITEM_NEIGHBORS,
    SIMILARITY_QUALITY,
    NEAR_DUPLICATES,
    USER_FACTORS,
    ITEM_FACTORS,
    ALS_MODELS,
    PROMOTIONS,
    BLEND_WEIGHTS,
)
"""The tables whose new versions are picked up. Not `interactions`: each batch run ends with `blend_weights`."""


@dataclass(frozen=True)
class Resident:
    """The fitted hybrid; `als`: section `als` as the model was trained with; `whole`: what only the whole log tells;
    `fixed`: the model's items with their factors, and `fixed_gram` their YᵀY, None without a model; `items`: frame
    (item_id) of the catalogue, persisted."""

    hybrid: Hybrid
    als: AlsConfig
    whole: Whole
    fixed: Candidates | None
    fixed_gram: NDArray[np.float64] | None
    items: DataFrame
    model_id: str | None
    encoder_id: str | None


def load_resident(context: StageContext) -> Resident:
    """Runs jobs: fits the item side with the blend that stage `recommend` has learned.

    Raises: TableError when that stage has not run, or the factors are not of one model.
    """
    tables, config = context.tables, context.config.recommend
    blend = blend_of(tables.pinned(BLEND_WEIGHTS).collect())
    learned = chosen_factors(context)
    als = settings_of_model(context, learned.model_id)
    encoder_id = current_encoder(tables, context.config.embed)
    inputs, _ = read_inputs(context, learned, als, encoder_id)
    inputs.touched.persist()
    try:
        hybrid = fit_hybrid(inputs, config, als, blend)
    finally:
        inputs.touched.unpersist()
    fixed = _fixed(learned.item_factors)
    return Resident(
        hybrid,
        als,
        whole_of(tables.pinned(INTERACTIONS), als),
        fixed,
        None if fixed is None else gram(fixed.factors),
        inputs.items.select("item_id").persist(),
        learned.model_id,
        encoder_id,
    )


def _fixed(item_factors: DataFrame) -> Candidates | None:
    rows = item_factors.select("item_id", "factors").toArrow().sort_by("item_id")
    if rows.num_rows == 0:
        return None
    lists = rows["factors"].combine_chunks()
    factors = as_matrix(lists, len(lists[0]), "item_factors")
    return Candidates(rows["item_id"].cast(pa.large_string()).combine_chunks(), factors, None)


class Latest:
    """Keeps the resident part in step with the tables.

    It is loaded anew, in line, when a table of `COMES_FROM` has a new version; looked for at most every `seconds`.
    While the tables stand between two stages the one before stays.
    """

    def __init__(self, context: StageContext, seconds: float, ready: Callable[[Resident], None]) -> None:
        """Loads it, and calls `ready` with each that is loaded. Raises: TableError as `load_resident`."""
        self._context, self._seconds, self._ready = context, seconds, ready
        self._versions = versions(context.tables)
        self._looked = time.monotonic()
        self.resident = self._load()
        self.loads = 1

    def look(self) -> Resident:
        """The resident part as the tables have it now."""
        if time.monotonic() - self._looked < self._seconds:
            return self.resident
        self._looked = time.monotonic()
        found = versions(self._context.tables)
        if found == self._versions:
            return self.resident
        try:
            before, self.resident = self.resident, self._load()
        except TableError as error:
            log.info("stream: the tables are between two stages, the model of before goes on: %s", error)
            return self.resident
        before.items.unpersist()
        self._versions = found
        self.loads += 1
        return self.resident

    def close(self) -> None:
        """Lets go of what is persisted."""
        self.resident.items.unpersist()

    def _load(self) -> Resident:
        began = time.monotonic()
        made = load_resident(self._context)
        self._ready(made)
        log.info(
            "stream: fitted %d items with model %s and encoder %s in %.1f s",
            len(made.hybrid.side),
            made.model_id,
            made.encoder_id,
            time.monotonic() - began,
        )
        return made


def versions(tables: TableStore) -> Mapping[str, int]:
    """The latest version of each table of `COMES_FROM` that is there."""
    return {table.name: tables.version(table) for table in COMES_FROM if tables.exists(table)}
