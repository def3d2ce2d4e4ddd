"""The labelled pictures of a run: names, labels and perceptual hashes on the driver, features on its disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import LongType

from vizrec_spark.adapt.labels import labelled_pictures, one_part
from vizrec_spark.config.models import LabelsConfig
from vizrec_spark.errors import ImageRefused, LabelError
from vizrec_spark.imaging import difference_hash


@dataclass(frozen=True)
class Pictures:
    """In order of sha256. labels: of each at least one; part: ``train``, ``validation``, ``test`` or None; hashes: n
    int64, 0 with `hashed` false where the picture has none; several: whether pictures may have more labels."""

    sha256: list[str]
    labels: list[list[str]]
    part: list[str | None]
    hashes: NDArray[np.int64]
    hashed: NDArray[np.bool_]
    several: bool


def gather(items: DataFrame, images: DataFrame, embeddings: DataFrame, config: LabelsConfig) -> Pictures:
    """The labelled pictures that have a vector; runs a job. The driver holds some 300 bytes for each.

    items, images: tables; embeddings: sha256 of one encoder. Raises: LabelError when there is none, or only some of
    them are given a part; ConfigError as `labelled_pictures`.
    """
    named = labelled_pictures(items, images, config)
    # Hashed before anything is shuffled but to find the labelled ones: contents are what is large.
    hashes = images.select("sha256", "content").join(named.select("sha256"), "sha256", "left_semi")
    hashes = hashes.select("sha256", _hashes()("content").alias("hash")).dropDuplicates(["sha256"])
    wanted = named.join(embeddings.select("sha256"), "sha256", "left_semi").join(hashes, "sha256", "left")
    rows = sorted(wanted.collect(), key=lambda row: row.sha256)
    if not rows:
        raise LabelError(
            f"no picture with a vector has a label: adapt.labels.label = {config.label!r} is null or empty for every "
            "item, or stage `embed` has not run with this encoder."
        )
    part = [one_part(list(row.parts)) for row in rows]
    without = sum(name is None for name in part)
    if 0 < without < len(part):
        raise LabelError(
            f"adapt.labels.part names a part for {len(part) - without:,} of {len(part):,} labelled pictures: name one "
            "for each, or set it to null, and all are split by adapt.split."
        )
    return Pictures(
        [row.sha256 for row in rows],
        [list(row.labels) for row in rows],
        part,
        np.array([row.hash or 0 for row in rows], np.int64),
        np.array([row.hash is not None for row in rows]),
        any(row.several for row in rows),
    )


def _hashes():  # type: ignore[no-untyped-def]
    def hashed(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        for batch in batches:
            yield pa.array([_hash(content.as_py()) for content in batch], pa.int64())

    return F.arrow_udf(hashed, LongType())  # type: ignore[call-overload]


def _hash(content: bytes) -> int | None:
    try:
        return difference_hash(content)
    except ImageRefused:
        return None
