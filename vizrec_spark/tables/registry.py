"""The registry of adapted encoders: register a version, promote one, roll back, and find the one that serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.errors import EncoderError, TableError
from vizrec_spark.kernels.adapted import Adapted, adapted_id, from_bytes, to_bytes
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.schemas import ADAPTED_ENCODERS, ENCODER_PROMOTIONS
from vizrec_spark.tables.stamp import Written
from vizrec_spark.tables.store import TableStore

PREFIX = "adapted:"
PRODUCTION = "production"


@dataclass(frozen=True)
class Registered:
    """A version in the registry. base: the section `embed` that names its base encoder."""

    name: str
    version: int
    encoder_id: str
    base_encoder_id: str
    base: EmbedConfig
    classes: tuple[str, ...]
    adapted: Adapted


@dataclass(frozen=True)
class Origin:
    """What a version was made from: the base encoder, the settings as JSON, and the versions of the tables."""

    base_encoder_id: str
    base: EmbedConfig
    settings: str
    data_versions: Mapping[str, int]


def is_adapted(encoder: str) -> bool:
    """Whether `embed.encoder` names an adapted encoder: ``adapted:<name>`` or ``adapted:<name>@<stage>``."""
    return encoder.startswith(PREFIX)


def name_and_stage(encoder: str) -> tuple[str, str]:
    """The two of ``adapted:<name>@<stage>``; the stage is ``production`` where it is left out.

    Raises: EncoderError when one is empty.
    """
    name, _, stage = encoder.removeprefix(PREFIX).partition("@")
    stage = stage if "@" in encoder else PRODUCTION
    if not name or not stage:
        raise EncoderError(f"embed.encoder = {encoder!r}: expected adapted:<name> or adapted:<name>@<stage>.")
    return name, stage


def serving(tables: TableStore, encoder: str) -> Registered:
    """The version that ``adapted:<name>@<stage>`` stands for now.

    Raises: EncoderError when none is promoted there, or its weights are not those that were registered.
    """
    name, stage = name_and_stage(encoder)
    last = _last_promotion(tables, name, stage)
    if last is None:
        raise EncoderError(
            f"no version of the adapted encoder {name} is promoted to {stage}: run stage `adapt` with the base encoder "
            f"as embed.encoder, or promote one with `vizrec encoders --promote {name}:<version> --stage {stage}`."
        )
    return registered(tables, name, last.version)


def serving_version(tables: TableStore, name: str, stage: str) -> int | None:
    """The version that serves in `stage`; None where none was promoted."""
    last = _last_promotion(tables, name, stage)
    return None if last is None else int(last.version)


def registered(tables: TableStore, name: str, version: int) -> Registered:
    """A version of the registry. Raises: EncoderError when it is not there, or its weights have been changed."""
    mine = (F.col("name") == name) & (F.col("version") == version)
    row = tables.read_or_empty(ADAPTED_ENCODERS).where(mine).first()
    if row is None:
        raise EncoderError(
            f"the registry has no version {version} of adapted encoder {name}: `vizrec encoders` lists what there is."
        )
    adapted = from_bytes(bytes(row.weights), row.sha256)
    return Registered(
        name,
        version,
        row.encoder_id,
        row.base_encoder_id,
        EmbedConfig.model_validate_json(row.base_config),
        tuple(row.classes),
        adapted,
    )


def latest(tables: TableStore, name: str) -> Row | None:
    """The row of the newest version, without its weights; None where there is none."""
    mine = tables.read_or_empty(ADAPTED_ENCODERS).where(F.col("name") == name).drop("weights")
    return mine.orderBy(F.desc("version")).first()


def encoder_id_of(base_encoder_id: str, name: str, adapted: Adapted) -> str:
    """``<name>-<12 hex digits>``: a hash of the base encoder's id, the name and all numbers that were learned."""
    return adapted_id(base_encoder_id, name, sha256(to_bytes(adapted)).hexdigest())


def version_of(tables: TableStore, name: str, encoder_id: str) -> int | None:
    """The version that has learned the same, number for number, from the same base; None where there is none."""
    mine = (F.col("name") == name) & (F.col("encoder_id") == encoder_id)
    row = tables.read_or_empty(ADAPTED_ENCODERS).where(mine).select("version").first()
    return None if row is None else int(row.version)


def register(
    tables: TableStore,
    spark: SparkSession,
    name: str,
    version: int,
    adapted: Adapted,
    origin: Origin,
    metrics: Mapping[str, float],
) -> Written:
    """Adds a version. Raises: TableError when another run has added one of this number."""
    weights = to_bytes(adapted)
    digest = sha256(weights).hexdigest()
    row: tuple[Any, ...] = (
        name,
        version,
        adapted_id(origin.base_encoder_id, name, digest),
        origin.base_encoder_id,
        origin.base.model_dump_json(),
        adapted.dimension,
        list(adapted.classes),
        adapted.kind,
        origin.settings,
        dict(metrics),
        dict(origin.data_versions),
        digest,
        bytearray(weights),
        datetime.now(UTC),
    )
    return _appended(tables, spark, ADAPTED_ENCODERS, row, f"version {version} of {name}")


def promote(
    tables: TableStore, spark: SparkSession, name: str, stage: str, version: int, reason: str
) -> Written:
    """Lets `version` serve in `stage`; nothing is written where it does. Later runs of `embed` make its vectors.

    Raises: EncoderError when the registry does not have it, or its weights have been changed; TableError when another
    run promotes at the same time.
    """
    registered(tables, name, version)
    last = _last_promotion(tables, name, stage)
    if last is not None and last.version == version:
        return tables.unchanged(ENCODER_PROMOTIONS)
    number = 1 if last is None else int(last.number) + 1
    what = f"promotion {number} of {name} to {stage}"
    return _appended(tables, spark, ENCODER_PROMOTIONS, (name, stage, number, version, reason), what)


def roll_back(tables: TableStore, spark: SparkSession, name: str, stage: str) -> tuple[int, Written]:
    """Lets the version serve again that served in `stage` before the one that does now, and says which.

    Rolled back twice, it is the one before that: a version that was rolled back from is not come back to.
    Raises: EncoderError when there is none.
    """
    history = [row.version for row in _promotions(tables, name, stage).orderBy("number").collect()]
    served: list[int] = []
    for version in history:
        if version in served:
            del served[served.index(version) + 1 :]
        else:
            served.append(version)
    if len(served) < 2:
        raise EncoderError(
            f"nothing to roll back to: {len(served)} version(s) of {name} have served in {stage}. "
            "`vizrec encoders` lists the versions; --promote takes any."
        )
    return served[-2], promote(
        tables, spark, name, stage, served[-2], f"rolled back from version {served[-1]}"
    )


def promotions(tables: TableStore) -> DataFrame:
    """name, stage, version, reason of what serves now: one row a name and stage."""
    rows = tables.read_or_empty(ENCODER_PROMOTIONS)
    newest = F.max_by(F.struct("version", "reason"), "number").alias("last")
    return rows.groupBy("name", "stage").agg(newest).select("name", "stage", "last.version", "last.reason")


def _promotions(tables: TableStore, name: str, stage: str) -> DataFrame:
    mine = (F.col("name") == name) & (F.col("stage") == stage)
    return tables.read_or_empty(ENCODER_PROMOTIONS).where(mine)


def _last_promotion(tables: TableStore, name: str, stage: str) -> Row | None:
    return _promotions(tables, name, stage).orderBy(F.desc("number")).first()


def _appended(
    tables: TableStore, spark: SparkSession, table: Table, row: tuple[Any, ...], what: str
) -> Written:
    """One row more. Its key has the next number, which another run may have taken since it was looked up."""
    written = tables.insert_missing(table, spark.createDataFrame([row], table.schema))
    if written.changed == 0:
        raise TableError(
            f"Table {table.name} at {tables.location(table)} has {what} already, of another run that went on at the "
            "same time: let it end, then run this again."
        )
    return written
