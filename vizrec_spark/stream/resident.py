"""What every micro-batch needs of the last batch run, loaded once for each version of what it comes from."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.errors import TableError
from vizrec_spark.kernels.fold_in import gram
from vizrec_spark.recommend.hybrid import Hybrid, fit_hybrid
from vizrec_spark.recommend.reading import chosen_factors, read_inputs, settings_of_model
from vizrec_spark.recommend.weights import blend_of
from vizrec_spark.retrieval.preferences import Whole, whole_of
from vizrec_spark.retrieval.shared import Candidates, as_matrix
from vizrec_spark.stage import StageContext, log
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import BLEND_WEIGHTS, INTERACTIONS, PROMOTIONS

ENDS_WITH = (BLEND_WEIGHTS, PROMOTIONS)
"""The tables whose new versions are picked up: a batch run commits the first at its end, a promotion the second. Before
that its tables are half of one model and half of another."""
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Resident:
    """The fitted hybrid; `als`: section `als` as the model was trained with; `whole`: what only the whole log tells;
    `fixed`: the model's items with their factors, and `fixed_gram` their YᵀY, None without a model."""

    hybrid: Hybrid
    als: AlsConfig
    whole: Whole
    fixed: Candidates | None
    fixed_gram: NDArray[np.float64] | None
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
    inputs = replace(inputs, segments=None)  # they are for users without events
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

    It is loaded anew, beside the micro-batches, when a table of `ENDS_WITH` has a new version, looked for at most every
    `seconds`; the one before serves until that is done, and for as long as it fails.
    """

    def __init__(self, context: StageContext, seconds: float, ready: Callable[[Resident], None]) -> None:
        """Loads it, and calls `ready` with each that is loaded. Raises: TableError as `load_resident`."""
        self._context, self._seconds, self._ready = context, seconds, ready
        self._versions = versions(context.tables)
        self.resident = self._load()
        self.loads = 1
        self._looked = time.monotonic()
        self._coming: Future[Resident] | None = None
        self._wanted = self._versions
        self._failing: float | None = None
        self._jobs = f"vizrec-fit-{uuid.uuid4()}"

    def look(self) -> Resident:
        """The resident part as the tables have it now, or had it when it was last loaded. Only for one thread."""
        if self._coming is not None and self._coming.done():
            self._take(self._coming)
            self._coming = None
        if self._coming is None and time.monotonic() - self._looked >= self._seconds:
            self._looked = time.monotonic()
            found = versions(self._context.tables)
            if found != self._versions:
                self._wanted = found
                self._coming = self._load_beside()
        return self.resident

    def close(self) -> None:
        """Gives up what is being loaded: its jobs are cancelled, those to come too, and nobody waits for the rest."""
        if self._coming is not None and not self._coming.done():
            # The wrapper in Python cancels only what runs at that moment.
            self._context.spark.sparkContext._jsc.sc().cancelJobGroupAndFutureJobs(self._jobs)

    def _take(self, coming: Future[Resident]) -> None:
        try:
            self.resident = coming.result()
        except Exception as error:  # a lost executor or a store that does not answer must not end the stream
            if not isinstance(error, TableError) and self._failing is None:
                log.warning("stream: a new model could not be taken up", exc_info=error)
            now = time.monotonic()
            if self._failing is None:
                self._failing = now
                log.info("stream: the model of before goes on: %s", error)
            elif now - self._failing > _PATIENCE_S:
                self._failing = math.inf
                log.warning("stream: the model of before still goes on, lists grow old: %s", error)
            return
        self._versions, self._failing = self._wanted, None
        self.loads += 1

    def _load_beside(self) -> Future[Resident]:
        coming: Future[Resident] = Future()

        def load() -> None:
            try:
                self._context.spark.sparkContext.setJobGroup(self._jobs, "a new model is taken up")
                coming.set_result(self._load())
            except BaseException as error:
                coming.set_exception(error)

        # A daemon, unlike the threads of a pool, which a process waits for when it ends.
        threading.Thread(target=load, name="vizrec-fit", daemon=True).start()
        return coming

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
    """The latest version of each table of `ENDS_WITH` that is there."""
    return {table.name: tables.version(table) for table in ENDS_WITH if tables.exists(table)}
