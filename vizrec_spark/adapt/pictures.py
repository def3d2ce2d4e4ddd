"""The labelled pictures of a run: names, labels and perceptual hashes on the driver, features on its disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import LongType

from vizrec_spark.adapt.labels import given_parts, gives_several, labelled_pictures
from vizrec_spark.config.models import LabelsConfig
from vizrec_spark.errors import LabelError
from vizrec_spark.imaging import difference_hashes


@dataclass(frozen=True)
class Pictures:
    """n pictures in order of their sha256, the distinct texts of n rows. labels: of each at least one; part: see
    `given_parts`; hashes: (n,) int64, 0 with `hashed` false where the picture has none; several: whether an item may
    have more labels than one."""

    sha256: pa.StringArray
    labels: pa.ListArray
    part: NDArray[np.str_] | None
    hashes: NDArray[np.int64]
    hashed: NDArray[np.bool_]
    several: bool

    def __len__(self) -> int:
        return len(self.sha256)


def gather(items: DataFrame, images: DataFrame, embeddings: DataFrame, config: LabelsConfig) -> Pictures:
    """The labelled pictures that have a vector; runs a job. The driver holds some 150 bytes for each.

    items, images: tables; embeddings: sha256 of one encoder. Raises: LabelError when there is none, or as
    `given_parts`; ConfigError as `labelled_pictures`.
    """
    named = labelled_pictures(items, images, config)
    # Hashed before anything is shuffled but to find the labelled ones: contents are what is large.
    hashes = images.select("sha256", "content").join(named.select("sha256"), "sha256", "left_semi")
    hashes = hashes.select("sha256", _hashes()("content").alias("hash")).dropDuplicates(["sha256"])
    wanted = named.join(embeddings.select("sha256"), "sha256", "left_semi").join(hashes, "sha256", "left")
    found = wanted.toArrow().sort_by("sha256").combine_chunks()
    if len(found) == 0:
        raise LabelError(
            f"no picture with a vector has a label: adapt.labels.label = {config.label!r} is null or empty for every "
            "item, or stage `embed` has not run with this encoder."
        )
    sha256, labels, parts, hash_ = (
        found.column(name).combine_chunks() for name in ("sha256", "labels", "parts", "hash")
    )
    return Pictures(
        sha256,
        labels,
        given_parts(parts),
        pc.fill_null(hash_, 0).to_numpy(zero_copy_only=False),
        pc.is_valid(hash_).to_numpy(zero_copy_only=False),
        gives_several(items, config),
    )


def _hashes():  # type: ignore[no-untyped-def]
    def hashed(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        for batch in batches:
            yield difference_hashes(batch)

    return F.arrow_udf(hashed, LongType())  # type: ignore[call-overload]
