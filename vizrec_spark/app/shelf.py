"""Adapted and fine-tuned encoders for the service: read from the tables without Spark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.serve.columns import ADAPTED_ENCODERS, ENCODER_FILES, FINE_TUNED_ENCODERS, Source
from vizrec_spark.serve.delta import TableFolder


class PlainShelf:
    """An `embed.kept.Shelf` on the Delta tables below ``tables.root``."""

    def __init__(self, config: TablesConfig) -> None:
        """Raises: ConfigError for tables that only Spark finds."""
        self._folder = TableFolder(config)

    def adapted(self, encoder_id: str) -> dict[str, Any] | None:
        """The row of table `adapted_encoders`, or None."""
        return self._row(ADAPTED_ENCODERS, encoder_id)

    def fine_tuned(self, encoder_id: str) -> dict[str, Any] | None:
        """The row of table `fine_tuned_encoders`, or None."""
        return self._row(FINE_TUNED_ENCODERS, encoder_id)

    def pieces(self, encoder_id: str) -> Iterator[bytes]:
        """The file of a fine-tuned encoder, in order."""
        opened = self._folder.open(ENCODER_FILES)
        columns = ("piece", "content")
        found = None if opened is None else opened.table(columns, where={"encoder_id": encoder_id})
        for content in () if found is None else found.sort_by("piece")["content"]:
            yield content.as_py()

    def _row(self, source: Source, encoder_id: str) -> dict[str, Any] | None:
        opened = self._folder.open(source)
        for piece in () if opened is None else opened.pieces(source.columns):
            mine: pa.Table = piece.data.filter(pc.equal(piece.data["encoder_id"], encoder_id))
            if len(mine):
                return dict(mine.slice(0, 1).to_pylist()[0])
        return None
