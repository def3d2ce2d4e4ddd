"""Picture features of the items: unit vectors less the catalogue's mean, on their principal axes.

Pooled features of a network share a large mean; a cosine to a user's profile is no better than chance until it is
taken off. The mean is that of this encoder on this catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import InputError

_PARTS = "n long, total array<double>, root binary"


class Axes(NamedTuple):
    """`mean` (d,) of the unit vectors and `axes` (d, l), orthonormal, those of most variance first."""

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]


def item_pictures(images: DataFrame, embeddings: DataFrame) -> DataFrame:
    """`item_id`, `sha256` of its first picture by path, `vector` of that picture (one encoder's `embeddings`)."""
    first = images.groupBy("item_id").agg(F.min_by("sha256", "path").alias("sha256"))
    return first.join(embeddings.select("sha256", "vector"), "sha256").select("item_id", "sha256", "vector")


def principal_axes(vectors: DataFrame, most: int) -> Axes | None:
    """Runs a job: the axes of `vectors` (vector array<float>, one length); None where there is none.

    Each partition sends 8 · d · min(d, its rows) bytes to the driver. At most `most` axes. Raises: InputError when
    lengths differ.
    """
    rows = vectors.select("vector").mapInArrow(partition_roots, _PARTS).collect()
    if not rows:
        return None
    lengths = sorted({len(row.total) for row in rows})
    if len(lengths) > 1:
        raise InputError(f"expected vectors of one length, got {lengths}: encode all items with one encoder")
    n = sum(row.n for row in rows)
    mean = np.sum([row.total for row in rows], axis=0) / n
    return axes_of(n, mean, [np.frombuffer(row.root).reshape(-1, lengths[0]) for row in rows], most)


def axes_of(n: int, mean: NDArray[np.float64], roots: Sequence[NDArray[np.float64]], most: int) -> Axes:
    """The axes of n vectors X (d long) of which the `roots` R are known: XᵀX is the sum of RᵀR.

    Their covariance XᵀX / n − mean meanᵀ lives in the space that the rows of the roots span, and is solved there: for
    fewer vectors than dimensions that is a small problem.
    """
    root = np.vstack(roots)
    basis = np.linalg.qr(root.T)[0]
    within, centre = root @ basis, mean @ basis
    value, turned = np.linalg.eigh(within.T @ within / n - np.outer(centre, centre))
    order = np.argsort(-value, kind="stable")[: min(most, len(mean), n)]
    axes = basis @ turned[:, order]
    # An axis has no direction of its own: its largest entry is made positive, so that runs agree.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return Axes(mean, axes)


def projected(vectors: DataFrame, axes: Axes) -> DataFrame:
    """`item_id`, `sha256`, `features` (array<float>): the centred unit vector on the axes."""
    schema = "item_id string, sha256 string, features array<float>"

    def project(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows == 0:
                continue
            made = ((_units(batch) - axes.mean) @ axes.axes).astype(np.float32)
            offsets = np.arange(len(made) + 1, dtype=np.int32) * made.shape[1]
            features = pa.ListArray.from_arrays(pa.array(offsets), pa.array(made.ravel()))
            yield pa.RecordBatch.from_arrays(
                [batch.column("item_id"), batch.column("sha256"), features], ["item_id", "sha256", "features"]
            )

    return vectors.select("item_id", "sha256", "vector").mapInArrow(project, schema)


def partition_roots(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row (`n`, `total`, `root`) for the unit vectors X of a partition: how many, their sum, and a matrix R of no
    more rows than X or d with RᵀR = XᵀX (of the QR decomposition of X, a batch at a time)."""
    n, total, root = 0, np.zeros(0), np.zeros((0, 0))
    for batch in batches:
        if batch.num_rows == 0:
            continue
        units = _units(batch)
        if n == 0:
            total, root = np.zeros(units.shape[1]), np.zeros((0, units.shape[1]))
        if units.shape[1] != len(total):
            raise InputError(
                f"expected vectors of one length, got {len(total)} and {units.shape[1]}: "
                "encode all items with one encoder"
            )
        n += len(units)
        total += units.sum(axis=0)
        root = np.asarray(np.linalg.qr(np.vstack([root, units]), mode="r"))
    if n:
        yield pa.RecordBatch.from_pylist([{"n": n, "total": total.tolist(), "root": root.tobytes()}])


def _units(batch: pa.RecordBatch) -> NDArray[np.float64]:
    column = batch.column("vector")
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    length, rest = divmod(len(flat), batch.num_rows)
    if rest or np.any(np.diff(column.offsets.to_numpy()) != length):
        raise InputError("expected vectors of one length: encode all items with one encoder")
    matrix = flat.reshape(batch.num_rows, length)
    return np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12))
