"""Values of users to figures of models, on Spark: each task adds up its users, the sums are added up by slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.evaluate.intervals import Figures, Sums, figures_of, sums_of
from vizrec_spark.evaluate.metrics import metric_names

SUMMARY_SCHEMA = (
    "slice string, model string, metric string, value double, lo double, hi double, n_users long, "
    "difference double, difference_lo double, difference_hi double, n_both long, p_value double"
)
_PARTS = Sums._fields
_SUMS_SCHEMA = f"slice string, part int, {', '.join(f'{name} binary' for name in _PARTS)}"


class _Job(NamedTuple):
    models: tuple[str, ...]
    metrics: tuple[str, ...]
    reference: int
    replicates: int
    seed: int


def summarise(
    values: DataFrame,
    models: Sequence[str],
    cutoffs: Sequence[int],
    *,
    reference: str,
    replicates: int = 1000,
    seed: int = 0,
    partitions: int = 4,
) -> DataFrame:
    """A row a slice, model and metric: `value`, the mean over `n_users` users, with `lo` and `hi`; and `difference`,
    the model's value less that of the model `reference` over the same users, with interval and `p_value` (NaN for the
    reference itself). Metrics that say nothing of any user have no row.

    values: `user_id`, `slice`, `values` (see `user_values`); a user may have several rows in a slice and counts as one.
    A task holds 40 · replicates · models · metrics bytes a
    slice, and the one that adds up a slice that much times `partitions` (8 models, 25 metrics and 1,000 replicates: 8
    MB). The sums run in the same order in every run.
    """
    job = _Job(tuple(models), tuple(metric_names(cutoffs)), list(models).index(reference), replicates, seed)
    laid_out = (
        values.select("slice", F.xxhash64("user_id").alias("user"), "user_id", "values")
        .repartition(partitions, "user_id")
        .sortWithinPartitions("slice", "user_id")
        .select("slice", F.spark_partition_id().alias("part"), "user", "values")
    )
    sums = laid_out.mapInArrow(partial(_sums, job), _SUMS_SCHEMA)
    return sums.groupBy("slice").applyInPandas(partial(_figures, job), SUMMARY_SCHEMA)


def _sums(job: _Job, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    found: dict[str, Sums] = {}
    part = 0
    for batch in whole_users(batches):
        part = batch.column("part")[0].as_py()
        users = batch.column("user").to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)
        flat = batch.column("values").flatten().to_numpy(zero_copy_only=False)
        values = flat.reshape(batch.num_rows, len(job.models), len(job.metrics))
        names = batch.column("slice").to_numpy(zero_copy_only=False)
        for name in pd.unique(names):  # a handful, in order of name
            mine = names == name
            sums = sums_of(values[mine], users[mine], job.reference, job.replicates, job.seed)
            found[name] = found[name].plus(sums) if name in found else sums
    for name, sums in found.items():
        told = [pa.array([np.ascontiguousarray(array).tobytes()], pa.binary()) for array in sums]
        yield pa.RecordBatch.from_arrays(
            [pa.array([name]), pa.array([part], pa.int32()), *told], names=["slice", "part", *_PARTS]
        )


def whole_users(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows of `batches` (sorted by `slice` and `user`), cut so that no batch ends amid the rows of a user."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        if batch.num_rows == 0:
            continue
        if held is not None:
            batch = pa.Table.from_batches([held, batch]).combine_chunks().to_batches()[0]
        at = batch.num_rows - 1
        last = [batch.column(name)[at] for name in ("slice", "user")]
        while at > 0 and [batch.column(name)[at - 1] for name in ("slice", "user")] == last:
            at -= 1
        if at > 0:
            yield batch.slice(0, at)
        held = batch.slice(at)
    if held is not None:
        yield held


def _figures(job: _Job, rows: pd.DataFrame) -> pd.DataFrame:
    shape = (-1, len(job.models), len(job.metrics))
    total: Sums | None = None
    for _, row in rows.sort_values("part").iterrows():  # one row a task
        sums = Sums(*(_array(row[name], name, shape) for name in _PARTS))
        total = sums if total is None else total.plus(sums)
    assert total is not None  # a group has a row
    return _named(job, str(rows["slice"].iloc[0]), figures_of(total))


def _array(raw: bytes, name: str, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    return np.frombuffer(raw).reshape(shape[1:] if name.startswith("users") else shape)


def _named(job: _Job, name: str, figures: Figures) -> pd.DataFrame:
    model, metric = np.meshgrid(np.arange(len(job.models)), np.arange(len(job.metrics)), indexing="ij")
    itself = model == job.reference
    frame = pd.DataFrame(
        {
            "slice": name,
            "model": np.array(job.models, dtype=object)[model.ravel()],
            "metric": np.array(job.metrics, dtype=object)[metric.ravel()],
            "value": figures.mean.ravel(),
            "lo": figures.lo.ravel(),
            "hi": figures.hi.ravel(),
            "n_users": figures.n.ravel().astype(np.int64),
            **{
                column: np.where(itself, np.nan, getattr(figures, column)).ravel()
                for column in ("difference", "difference_lo", "difference_hi", "p_value")
            },
            "n_both": pd.array(figures.n_both.ravel().astype(np.int64), dtype="Int64").copy(),
        }
    )
    frame.loc[itself.ravel() | (frame["n_both"] == 0).to_numpy(), "n_both"] = pd.NA
    frame = frame[[name.split()[0] for name in SUMMARY_SCHEMA.split(", ")]]
    return frame[frame["n_users"] > 0]
