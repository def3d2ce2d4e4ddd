"""Encoders that the tables keep: fine-tuned files, and what was learned to stand behind an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from vizrec_spark.embed.build import BuiltEncoder
from vizrec_spark.embed.encoder import file_sha256
from vizrec_spark.embed.runtimes import Runtime
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.adapted import Adapted


class Shelf(Protocol):
    """Where adapted and fine-tuned encoders are kept: `tables.fine_tuned.SparkShelf`, or without Spark `app.shelf`."""

    def adapted(self, encoder_id: str) -> Mapping[str, Any] | None:
        """The row of table `adapted_encoders`, or None."""
        ...

    def fine_tuned(self, encoder_id: str) -> Mapping[str, Any] | None:
        """The row of table `fine_tuned_encoders`, or None."""
        ...

    def pieces(self, encoder_id: str) -> Iterator[bytes]:
        """The file of a fine-tuned encoder, in order."""
        ...


class AdaptedRuntime:
    """A `Runtime` with what was learned behind it."""

    def __init__(self, base: Runtime, adapted: Adapted) -> None:
        self._base, self._adapted = base, adapted
        self.batch_size, self.input_size = base.batch_size, base.input_size
        self.dimension = adapted.dimension

    def encode(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Runtime.encode`."""
        return self._adapted.apply(self._base.encode(rgb))[0]


def fetched(shelf: Shelf, encoder_id: str, cache_dir: Path) -> BuiltEncoder:
    """A fine-tuned encoder as ``<cache_dir>/<encoder_id>.keras``, from there where it is.

    Raises: EncoderError when the tables have none of this id, or its file is not the one that was registered.
    """
    row = shelf.fine_tuned(encoder_id)
    if row is None:
        raise EncoderError(
            f"table fine_tuned_encoders has no {encoder_id}: take an encoder_id that it has, or run stage `adapt` with "
            "adapt.depth=fine_tune."
        )
    path = cache_dir / f"{encoder_id}.keras"
    if not path.is_file() or file_sha256(path) != row["sha256"]:
        _fetch(shelf, encoder_id, str(row["sha256"]), path)
    size = (int(row["input_height"]), int(row["input_width"]))
    return BuiltEncoder(encoder_id, path, size, int(row["dimension"]))


def _fetch(shelf: Shelf, encoder_id: str, wanted: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{uuid4().hex}.tmp")
    digest = sha256()
    try:
        with scratch.open("wb") as stream:
            for piece in shelf.pieces(encoder_id):
                digest.update(piece)
                stream.write(piece)
        if digest.hexdigest() != wanted:
            raise EncoderError(
                f"the file of encoder {encoder_id} in table encoder_files is not the one that was registered (its "
                "SHA-256 differs) and was not loaded: use another version, or run stage `adapt` again."
            )
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
