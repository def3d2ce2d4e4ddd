"""How the items that are shown look, and what the catalogue looks like in the mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def shown_items(lists: Mapping[str, DataFrame], deepest: int) -> DataFrame:
    """`item_id`, each once: what stands in the first `deepest` ranks of anybody's list, by any model.

    lists: rows `user_id`, `rank`, `item_id`.
    """
    first = [rows.where(F.col("rank") <= deepest).select("item_id") for rows in lists.values()]
    return reduce(DataFrame.union, first).distinct()


def mean_looks(pictures: DataFrame, embedded: DataFrame) -> NDArray[np.float64] | None:
    """The mean vector of all items with an embedded picture, (d,), the vector of an item being the mean of its
    pictures' vectors; None without any. One Spark job, from which a row a task comes back.

    pictures: `item_id`, `sha256`; embedded: `sha256`, `vector`, of one encoder. The sums are of doubles and told as
    floats, so that the order of the tasks does not show.
    """
    there = pictures.join(embedded.select("sha256"), "sha256", "left_semi")
    of_item = there.groupBy("item_id").agg((1 / F.count(F.lit(1))).alias("weight"))
    weights = there.join(of_item, "item_id").groupBy("sha256").agg(F.sum("weight").alias("weight"))
    weighed = embedded.join(weights, "sha256").select("vector", "weight")
    parts = weighed.mapInArrow(_sums, "total array<double>, weight double").collect()
    if not parts:
        return None
    total = np.sum([part.total for part in parts], axis=0)
    return np.asarray(total / sum(part.weight for part in parts), dtype=np.float32).astype(np.float64)


def vectors_of(pictures: DataFrame, embedded: DataFrame, items: DataFrame, most: int) -> pa.Table | None:
    """`item_id`, `vector` of the pictures of `items` (`item_id`), on the driver, in order of item and picture; None
    when there are more than `most` of them. Takes 12 bytes a number while it is brought in order, 4 then."""
    wanted = pictures.join(items, "item_id", "left_semi").join(
        embedded.select("sha256"), "sha256", "left_semi"
    )
    wanted = wanted.persist()  # read twice, and behind it are the lists of all models
    try:
        if wanted.count() > most:
            return None
        found = wanted.join(embedded, "sha256").select("item_id", "sha256", "vector").toArrow()
    finally:
        wanted.unpersist()
    keys = [("item_id", "ascending"), ("sha256", "ascending")]
    return found.take(pc.sort_indices(found.select(["item_id", "sha256"]), sort_keys=keys)).drop_columns(
        "sha256"
    )


def _sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    total: NDArray[np.float64] | None = None
    weight = 0.0
    for batch in batches:
        if batch.num_rows == 0:
            continue
        own = batch.column("weight").to_numpy(zero_copy_only=False)
        flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
        added = own @ flat.reshape(len(own), -1)
        total, weight = added if total is None else total + added, weight + float(own.sum())
    if total is not None:
        yield pa.RecordBatch.from_arrays(
            [pa.array([total.tolist()], pa.list_(pa.float64())), pa.array([weight])],
            names=["total", "weight"],
        )
