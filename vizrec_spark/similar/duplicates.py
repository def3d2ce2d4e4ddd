"""Groups of items that show nearly the same picture: alike to the encoder and alike in a perceptual hash.

An encoder alone finds two photographs of one product as near as two products of one kind; a perceptual hash alone
is fooled by plain pictures. Both together are strict.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField, StructType

from vizrec_spark.imaging import difference_hashes
from vizrec_spark.kernels.components import components

GROUPS_SCHEMA = StructType(
    [
        StructField("item_id", StringType(), False),
        StructField("group_id", StringType(), False),
        StructField("group_size", LongType(), False),
    ]
)


def near_duplicates(neighbors: DataFrame, images: DataFrame, *, cosine: float, hash_bits: int) -> DataFrame:
    """Items that belong to a group of two or more: item_id, group_id (its smallest item_id), group_size.

    Joined are pairs of `neighbors` (item_id, neighbor_id, cosine) of at least this cosine of which some two pictures
    (`images`: item_id, content) have hashes that differ in at most `hash_bits` bits; a group is what hangs
    together by such pairs. Only pictures of such pairs are decoded. The grouping runs in one task that holds the
    pairs: some 200 bytes each.
    """
    pairs = neighbors.where(F.col("cosine") >= cosine).select(
        F.least("item_id", "neighbor_id").alias("left"), F.greatest("item_id", "neighbor_id").alias("right")
    )
    pairs = pairs.distinct()
    items = pairs.select(F.explode(F.array("left", "right")).alias("item_id")).distinct()
    hashes = images.select("item_id", "content").join(items, "item_id", "left_semi")
    hashes = hashes.select("item_id", _hashes()("content").alias("hash")).where("hash IS NOT NULL")
    near = (
        pairs.join(hashes.select(F.col("item_id").alias("left"), F.col("hash").alias("l")), "left")
        .join(hashes.select(F.col("item_id").alias("right"), F.col("hash").alias("r")), "right")
        .where(F.bit_count(F.col("l").bitwiseXOR(F.col("r"))) <= hash_bits)
        .select("left", "right")
    )
    return near.coalesce(1).mapInArrow(_groups, GROUPS_SCHEMA)


def _hashes():  # type: ignore[no-untyped-def]
    def hashed(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        for batch in batches:
            yield difference_hashes(batch)

    return F.arrow_udf(hashed, LongType())  # type: ignore[call-overload]


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    gathered = [batch for batch in batches if batch.num_rows]
    if not gathered:
        return
    pairs = pa.Table.from_batches(gathered).combine_chunks()
    left, right = (pairs.column(name).chunk(0) for name in ("left", "right"))
    ids = pc.unique(pa.concat_arrays([left, right]))
    ids = ids.take(pc.sort_indices(ids))
    ends = [pc.index_in(side, value_set=ids).to_numpy().astype(np.int64) for side in (left, right)]
    group = components(len(ids), *ends)
    sizes = np.bincount(group)[group]
    yield pa.RecordBatch.from_arrays(
        [ids, ids.take(pa.array(group)), pa.array(sizes)], names=GROUPS_SCHEMA.names
    )
