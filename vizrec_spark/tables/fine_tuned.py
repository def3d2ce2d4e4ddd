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

from vizrec_spark.tables.schemas import ADAPTED_ENCODERS, ENCODER_FILES, FINE_TUNED_ENCODERS
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


def made_from(tables: TableStore, fingerprint: str) -> Row | None:
    """The encoder that was fine-tuned from the same pictures, labels, settings and encoder; None where none was."""
    return tables.read_or_empty(FINE_TUNED_ENCODERS).where(F.col("made_from") == fingerprint).first()


def register_file(tables: TableStore, spark: SparkSession, made: Made, file: Path) -> list[Written]:
    """Keeps the file of a fine-tuned encoder, and then the row by which it is found; what stands there stays."""
    content = file.read_bytes()
    starts = range(0, len(content), _PIECE)
    pieces = pa.table(
        {
            "encoder_id": pa.repeat(made.encoder_id, len(starts)),
            "piece": pa.array(range(len(starts)), pa.int32()),
            "content": pa.array([content[start : start + _PIECE] for start in starts], pa.binary()),
        }
    )
    within = {"encoder_id": made.encoder_id}
    # In place of those of a run that was killed between the two commits: a file has its time in it.
    written = tables.upsert(ENCODER_FILES, spark.createDataFrame(pieces), within)
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
        sha256(content).hexdigest(),
        datetime.now(UTC),
    )
    frame = spark.createDataFrame([row], FINE_TUNED_ENCODERS.schema)
    return [written, tables.insert_missing(FINE_TUNED_ENCODERS, frame)]


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
