"""A few items against all: their vectors go to every task, and no other vector goes anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models.similar import FiltersConfig
from vizrec_spark.kernels.topk import PAD_KEY
from vizrec_spark.similar.admits import admission_between, admits_in, allowed, kept_columns
from vizrec_spark.similar.arrow import vectors_to_matrix
from vizrec_spark.similar.exact import NO_FILTERS
from vizrec_spark.similar.lists import LISTS_SCHEMA, lists_batch, merge_lists
from vizrec_spark.similar.scoring import Floats, Metric, Nearest, merge_nearest, nearest_in_block


@dataclass(frozen=True)
class Few:
    """Items on the driver. ids: ascending; vectors: n × d; admits: `admits.ADMITS_SCHEMA`, None without filters."""

    ids: pa.Array
    vectors: Floats
    admits: pa.StructArray | None = None

    def of(self, ids: pa.Array) -> Few:
        """Those with these `ids`, all of which must be there."""
        ids = ids.take(pc.sort_indices(ids))
        at = pc.index_in(ids, value_set=self.ids)
        return Few(ids, self.vectors[at.to_numpy()], None if self.admits is None else self.admits.take(at))

    @property
    def rows(self) -> pa.Table:
        """Column item_id."""
        return pa.table({"item_id": self.ids})


def fetched(vectors: DataFrame, ids: pa.Array) -> Few:
    """Runs a job: those of `vectors` (item_id, vector) with these `ids`."""
    names = vectors.sparkSession.createDataFrame(pa.table({"item_id": pc.unique(ids)}), "item_id string")
    rows = vectors.select(*kept_columns(vectors)).join(F.broadcast(names), "item_id").toArrow()
    rows = rows.sort_by("item_id").combine_chunks()
    admits = _whole(rows.column("admits")) if "admits" in rows.column_names else None
    ids = _whole(rows.column("item_id")).cast(pa.string())
    return Few(ids, vectors_to_matrix(rows.column("vector")), admits)


def nearest_of(
    few: Few, vectors: DataFrame, *, k: int, metric: Metric, filters: FiltersConfig = NO_FILTERS
) -> pa.Table:
    """Runs a job: the k nearest of `vectors` (item_id, vector) for each of the `few`, all of them compared.

    `filters` say who may be a look-alike of whom, where both have what they ask (`admits.with_admits`).
    Returns `lists.NEIGHBORS_SCHEMA`. A task holds the few, k candidates of each, and the ids
    of its partition; equally near ones are told in the order in which they lie there.
    """
    asked, matrix, admits = few.ids, few.vectors, few.admits

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        best: Nearest | None = None
        seen, ids = 0, []
        for batch in batches:
            if not batch.num_rows:
                continue
            names = batch.column("item_id")
            same = pc.fill_null(pc.index_in(asked, value_set=names), PAD_KEY).to_numpy().astype(np.int64)
            between = admission_between(admits, admits_in(batch), names, filters)
            may = allowed(between, len(matrix), len(names))
            found = nearest_in_block(matrix, vectors_to_matrix(batch.column("vector")), k, metric, same, may)
            keys = np.where(found.keys == PAD_KEY, PAD_KEY, found.keys + seen)
            found = Nearest(keys, found.cosine, found.distance)
            best = found if best is None else merge_nearest(best, found, k, metric)
            ids.append(names)
            seen += len(names)
        if best is not None:
            yield lists_batch(asked, pa.concat_arrays(ids), best)

    lists = vectors.select(*kept_columns(vectors)).mapInArrow(search, LISTS_SCHEMA)
    return merge_lists(lists, k=k, metric=metric).toArrow().combine_chunks()


def numbers_in(ids: pa.Array, names: pa.ChunkedArray) -> NDArray[np.int64]:
    """The place of each of `names` in `ids`; -1 where it is not there."""
    found = pc.fill_null(pc.index_in(names.cast(pa.string()), value_set=ids), PAD_KEY)
    return _whole(found).to_numpy().astype(np.int64)


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
