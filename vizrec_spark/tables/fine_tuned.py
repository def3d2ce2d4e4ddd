"""Fine-tuned encoders in the tables: kept as files in pieces, and found again by id or by what they were made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, Row, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.errors import EncoderError
from vizrec_spark.tables.schemas import (
    ADAPTED_ENCODERS,
    ENCODER_FILES,
    FINE_TUNED_ENCODERS,
    FINE_TUNED_PICTURES,
)
from vizrec_spark.tables.store import TableStore, Written

PREFIX = "fine_tuned:"

_PIECE = 8 << 20  # bytes; Parquet readers hold some at a time


@dataclass(frozen=True)
class Made:
    """What `register_file` writes down of a fine-tuned encoder; see table `fine_tuned_encoders`."""

    encoder_id: str
    made_from: str
    name: str
    base_encoder_id: str
    input_size: tuple[int, int]
    dimension: int
    classes: Sequence[str]
    blocks: Sequence[str]
    precision: str
    epochs: int
    loss_before: float
    loss_after: float
    settings: str


def is_fine_tuned(encoder: str) -> bool:
    """Whether `embed.encoder` names a fine-tuned encoder: ``fine_tuned:<encoder id>``."""
    return encoder.startswith(PREFIX)


def require_alone(config: EmbedConfig) -> None:
    """Raises: EncoderError when `config` names a fine-tuned encoder and beside it what names nothing of it: its file
    says all."""
    names = ("weights", "layer", "input_size", "preprocessing", "options", "sha256")
    given = [name for name in names if getattr(config, name) != EmbedConfig.model_fields[name].default]
    if is_fine_tuned(config.encoder) and given:
        raise EncoderError(
            f"embed.encoder = {config.encoder!r} is a fine-tuned encoder, whose file says all of it, and "
            f"{', '.join(f'embed.{name}' for name in given)} would change nothing: leave that out."
        )


def made_from(tables: TableStore, fingerprint: str) -> Row | None:
    """The encoder that was fine-tuned from the same pictures, labels, settings and encoder; None where none was."""
    return tables.read_or_empty(FINE_TUNED_ENCODERS).where(F.col("made_from") == fingerprint).first()


def register_file(
    tables: TableStore, spark: SparkSession, made: Made, file: Path, pictures: pa.Table
) -> list[Written]:
    """Keeps the file of a fine-tuned encoder and what it has learned from, and then the row by which it is found.

    pictures: sha256, part of those that it has learned from and was chosen on, its base's included. Other settings can
    make the same weights, and so the same id, in a file of other bytes: then the file that is there stays, and the row
    of the new fingerprint names it.
    """
    known = SparkShelf(tables).fine_tuned(made.encoder_id)
    if known is None:
        content = file.read_bytes()
        digest = sha256(content).hexdigest()
        # In place of all that a run left which was killed before the row.
        where = f"encoder_id = '{made.encoder_id}'"
        files = tables.overwrite(
            ENCODER_FILES, spark.createDataFrame(_pieces(made.encoder_id, content)), where
        )
    else:
        digest, files = str(known["sha256"]), tables.unchanged(ENCODER_FILES)
    mine = pa.table({"encoder_id": pa.repeat(made.encoder_id, len(pictures)), **_columns(pictures)})
    within = {"encoder_id": made.encoder_id}
    learned = tables.insert_missing(FINE_TUNED_PICTURES, spark.createDataFrame(mine), within)
    row = (
        made.encoder_id,
        made.made_from,
        made.name,
        made.base_encoder_id,
        *made.input_size,
        made.dimension,
        list(made.classes),
        list(made.blocks),
        made.precision,
        made.epochs,
        made.loss_before,
        made.loss_after,
        made.settings,
        digest,
        datetime.now(UTC),
    )
    frame = spark.createDataFrame([row], FINE_TUNED_ENCODERS.schema)
    return [files, learned, tables.insert_missing(FINE_TUNED_ENCODERS, frame)]


def learned_from(tables: TableStore, encoder: str) -> pa.Table:
    """sha256, part of the pictures that the encoder which `embed.encoder` names has learned from or was chosen on; none
    of an encoder that is not fine-tuned."""
    if not is_fine_tuned(encoder):
        return pa.table({"sha256": pa.array([], pa.string()), "part": pa.array([], pa.string())})
    rows = tables.read_or_empty(FINE_TUNED_PICTURES).where(_is(encoder.removeprefix(PREFIX)))
    found = rows.select("sha256", "part").toArrow()
    return pa.table(_columns(found))  # without Spark's word on nulls, which would make another schema of it


def _pieces(encoder_id: str, content: bytes) -> pa.Table:
    starts = range(0, len(content), _PIECE)
    return pa.table(
        {
            "encoder_id": pa.repeat(encoder_id, len(starts)),
            "piece": pa.array(range(len(starts)), pa.int32()),
            "content": pa.array([content[start : start + _PIECE] for start in starts], pa.binary()),
        }
    )


def _columns(pictures: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: pictures[name] for name in ("sha256", "part")}


class SparkShelf:
    """What the tables keep of adapted and fine-tuned encoders, by encoder id."""

    def __init__(self, tables: TableStore) -> None:
        self._tables = tables

    def adapted(self, encoder_id: str) -> dict[str, object] | None:
        """The row of `adapted_encoders`, or None."""
        found = self._tables.read_or_empty(ADAPTED_ENCODERS).where(_is(encoder_id)).first()
        return None if found is None else found.asDict()

    def fine_tuned(self, encoder_id: str) -> dict[str, object] | None:
        """The row of `fine_tuned_encoders`, or None."""
        found = self._tables.read_or_empty(FINE_TUNED_ENCODERS).where(_is(encoder_id)).first()
        return None if found is None else found.asDict()

    def pieces(self, encoder_id: str) -> Iterator[bytes]:
        """The file of a fine-tuned encoder, piece by piece."""
        rows = self._tables.read_or_empty(ENCODER_FILES).where(_is(encoder_id))
        for row in rows.orderBy("piece").select("content").toLocalIterator():
            yield bytes(row.content)


def _is(encoder_id: str) -> Column:
    return F.col("encoder_id") == encoder_id
