"""Wires stage `als`: interactions to id map, factors and model."""

from __future__ import annotations

import hashlib
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vizrec_spark import __version__
from vizrec_spark.als.checkpoints import checkpoints
from vizrec_spark.als.id_map import LARGEST_INDEX, indexed, new_ids, require_room
from vizrec_spark.als.loss import Sample, affordable, convergence, model_loss, sampled
from vizrec_spark.als.prepare import Prepared, prepared
from vizrec_spark.als.settings import chosen_settings
from vizrec_spark.als.train import chosen_blocks, linear_algebra, train_als, under_own_ids
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.config.models.als import settings_of
from vizrec_spark.errors import TableError
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Table, TableStore
from vizrec_spark.tables.schemas import ALS_MODELS, ID_MAP, INTERACTIONS, ITEM_FACTORS, USER_FACTORS

# How a model is trained, kept and watched, but not what it is.
_NO_PART_OF_THE_MODEL = {
    "settings",
    "checkpoint_dir",
    "checkpoint_interval",
    "intermediate_storage",
    "final_storage",
    "model_dir",
    "loss_sample",
}


def run(context: StageContext) -> StageResult:
    """Trains on all interactions, unless the tables already hold the model of this data and set-up."""
    tables, chosen = context.tables, chosen_settings(context.tables, context.config)
    interactions = tables.pinned(INTERACTIONS)
    with (
        checkpoints(context.spark, chosen.checkpoint_dir),
        prepared(interactions, chosen) as ready,
    ):
        if ready.size == 0 and not interactions.isEmpty():
            raise TableError(
                f"Table interactions has nothing to learn from ({chosen.preference} preferences): check "
                "`ingest.interactions`, or set als.preference; als.events, als.outlier_fence, als.min_user_items and "
                "als.min_item_users leave some out."
            )
        if ready.size == 0:
            return _no_model(context)
        blocks = chosen.blocks or chosen_blocks(ready.size)
        config = chosen.model_copy(update={"blocks": blocks})
        model_id = _model_id(ready, config)
        path = None if config.model_dir is None else f"{config.model_dir.rstrip('/')}/{model_id}"
        if (known := _up_to_date(tables, model_id, path)) is not None:
            told = f"model {model_id} is up to date: the same {ready.size:,} preferences and settings"
            standing = (ID_MAP, USER_FACTORS, ITEM_FACTORS, ALS_MODELS)
            return StageResult(
                [tables.unchanged(table) for table in standing], [told], _figures(ready.size, known.loss)
            )
        return _trained(context, ready, config, model_id, path)


def _trained(
    context: StageContext, ready: Prepared, config: AlsConfig, model_id: str, path: str | None
) -> StageResult:
    tables, frame = context.tables, ready.frame
    kinds = [
        frame.select(F.lit(kind).alias("kind"), F.col(f"{kind}_id").alias("id")) for kind in ("user", "item")
    ]
    wanted = kinds[0].union(kinds[1])
    tables.ensure(ID_MAP)
    # The first count is Delta's own, without a pass over the data, and at least as large as any number given out.
    if tables.read(ID_MAP).count() + 2 * ready.size > LARGEST_INDEX:
        require_room(wanted, tables.read(ID_MAP))
    ids = tables.insert_missing(ID_MAP, new_ids(wanted, tables.read(ID_MAP)))
    id_map = tables.read(ID_MAP)
    model, users, items = train_als(indexed(frame, id_map), config)
    written = [
        ids,
        tables.overwrite(USER_FACTORS, under_own_ids(users, id_map, "user", model_id)),
        tables.overwrite(ITEM_FACTORS, under_own_ids(items, id_map, "item", model_id)),
    ]
    if path is not None:
        model.write().overwrite().save(path)
    losses, own, told = _watched(context, ready, config)
    algebra = linear_algebra(context.spark)
    # Last: this row says that all of the model is there.
    about = {
        "model_id": model_id,
        "id_map_version": ids.version,
        "preferences": ready.size,
        "rank": config.rank,
        "iterations": config.iterations,
        "blocks": config.blocks,
        "linear_algebra": algebra,
        "losses": losses,
        "loss": own,
        "path": path,
        "settings": settings_of(config),
    }
    written.append(tables.upsert(ALS_MODELS, _one_row(context, about)))
    learned = f"model {model_id} learned from {ready.size:,} {config.preference} preferences"
    how = f"{config.blocks} blocks of users and of items; linear algebra: {algebra}"
    return StageResult(written, [learned, *ready.left_out, how, *told], _figures(ready.size, own))


def _figures(preferences: int, loss: float | None) -> dict[str, float]:
    return {"preferences": float(preferences), **({} if loss is None else {"loss": loss})}


def _watched(
    context: StageContext, ready: Prepared, config: AlsConfig
) -> tuple[list[float], float | None, list[str]]:
    """Losses by iteration on a sample, that of the model, and sentences about both."""
    if config.loss_sample == 0:
        return [], None, []
    size = min(config.loss_sample, affordable(config.rank, config.iterations))
    sample: Sample = sampled(ready.frame, size, min(1.0, size / ready.size))
    if len(sample.value) == 0:
        return [], None, ["no loss: the sample is empty, raise als.loss_sample"]
    losses = convergence(sample, config)
    tables = context.tables
    own = model_loss(
        sample,
        tables.read(USER_FACTORS).select("user_id", "factors"),
        tables.read(ITEM_FACTORS).select("item_id", "factors"),
        config,
    )
    told = (
        f"loss by iteration on a sample of {len(sample.value):,} preferences of {len(sample.users):,} users, trained "
        f"alone: {', '.join(f'{value:.4f}' for value in losses)}; of the model on the same users: {own:.4f}"
    )
    return losses, own, [told]


def _one_row(context: StageContext, values: dict[str, Any]) -> DataFrame:
    row = tuple(values[name] for name in ALS_MODELS.columns)
    return context.spark.createDataFrame([row], ALS_MODELS.schema)


def _no_model(context: StageContext) -> StageResult:
    """Nobody has done anything yet: a new shop is served without a model."""
    tables = context.tables
    tables.ensure(ID_MAP)
    written = [
        tables.overwrite(table, context.spark.createDataFrame([], table.schema))
        for table in (USER_FACTORS, ITEM_FACTORS)
    ]
    told = "no interactions yet, so there is nothing to learn from and no model"
    return StageResult(written, [told], _figures(0, None))


STAGE = Stage("als", "train MLlib's ALS on the interactions", run)


def _model_id(ready: Prepared, config: AlsConfig) -> str:
    """A fingerprint of the data and of what shapes the model."""
    digest = ready.frame.agg(F.bit_xor(F.xxhash64("user_id", "item_id", "preference"))).collect()[0][0]
    set_up = config.model_dump_json(exclude=_NO_PART_OF_THE_MODEL)
    text = f"{__version__}|{set_up}|{ready.size}|{digest}"
    return "als-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def _up_to_date(tables: TableStore, model_id: str, path: str | None) -> Row | None:
    """The row of table `als_models` for this model, where all of the model is there."""
    if not all(_holds(tables, table, model_id) for table in (USER_FACTORS, ITEM_FACTORS)):
        return None
    known = tables.read_or_empty(ALS_MODELS).where(F.col("model_id") == model_id).first()
    return known if known is not None and (path is None or known.path == path) else None


def _holds(tables: TableStore, table: Table, model_id: str) -> bool:
    if not tables.exists(table):
        return False
    first = tables.read(table).select("model_id").first()
    return first is not None and first.model_id == model_id
