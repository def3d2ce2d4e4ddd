"""Trains MLlib's alternating least squares and gives its factors back under the shop's own ids."""

from __future__ import annotations

from typing import NamedTuple

from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.errors import SessionError, TableError

_BLOCK_PREFERENCES = 500_000
_MANY_BLOCKS = 256
_MOST_IN_A_BLOCK = 4_000_000


class Trained(NamedTuple):
    """MLlib's model, and its factors of users and items: each `id` (int), `factors` (array<float>, `rank` long)."""

    model: ALSModel
    users: DataFrame
    items: DataFrame


def train_als(indexed: DataFrame, config: AlsConfig) -> Trained:
    """A model of `user` (int), `item` (int), `preference` (float), one row a pair.

    implicit: confidence 1 + alpha · preference (Hu, Koren and Volinsky 2008, "Collaborative Filtering for
    Implicit Feedback Datasets"); explicit: squared error on the ratings. The regularization of a row grows with
    its number of preferences (Zhou et al. 2008, ALS-WR), as MLlib has it. `config.blocks` must be chosen
    (`chosen_blocks`), or there are 2.

    Raises: SessionError without a checkpoint directory: MLlib would silently ignore the interval, and a long
    lineage overflows the stack. TableError when `user` or `item` is not int: MLlib would cast it.
    """
    spark = indexed.sparkSession
    if spark.sparkContext.getCheckpointDir() is None:
        raise SessionError(
            "ALS needs a checkpoint directory and the Spark context has none: call "
            "spark.sparkContext.setCheckpointDir with a folder that all executors reach (als.checkpoint_dir)."
        )
    for name in ("user", "item"):
        if indexed.schema[name].dataType != IntegerType():
            raise TableError(
                f"Column `{name}` is {indexed.schema[name].dataType.simpleString()}, expected int: number the ids "
                "with `new_ids` and `indexed`."
            )
    blocks = config.blocks or chosen_blocks(0)
    # A fixed layout, so that sums run in the same order and a repeated run gives the same factors.
    laid_out = indexed.repartition(blocks, "user").sortWithinPartitions("user", "item")
    model = ALS(
        userCol="user",
        itemCol="item",
        ratingCol="preference",
        rank=config.rank,
        maxIter=config.iterations,
        regParam=config.regularization,
        alpha=config.alpha,
        implicitPrefs=config.preference == "implicit",
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        checkpointInterval=config.checkpoint_interval,
        intermediateStorageLevel=config.intermediate_storage,
        finalStorageLevel=config.final_storage,
        coldStartStrategy="drop",
        seed=config.seed,
    ).fit(laid_out)
    return Trained(
        model,
        model.userFactors.select("id", F.col("features").alias("factors")),
        model.itemFactors.select("id", F.col("features").alias("factors")),
    )


def chosen_blocks(preferences: int) -> int:
    """How many blocks of users, and of items, to train `preferences` rows in: one for each half million, 2 to 256, and
    more where a block would hold more than 4 million (about 100 MB with the factors that come to it at rank 64).

    As few as fill the machine train fastest: MLlib sends a factor to each block that needs it, and shuffles blocks ×
    blocks pieces twice an iteration. The number shapes the order of sums, and so the last digits of the model, so it
    must not depend on how many cores happen to be there when a job starts; whoever has many cores for little data
    sets `als.blocks` to their number.
    """
    usual = min(max(2, -(-preferences // _BLOCK_PREFERENCES)), _MANY_BLOCKS)
    return max(usual, -(-preferences // _MOST_IN_A_BLOCK))


def linear_algebra(spark: SparkSession) -> str:
    """What MLlib multiplies with, in words, as the driver has it (executors of the same image have the same).

    Spark takes a native BLAS where it finds one, else Java's vector instructions, else plain Java.
    """
    linalg = spark._jvm.org.apache.spark.ml.linalg  # type: ignore[union-attr]
    blas = getattr(getattr(linalg, "BLAS$"), "MODULE$")
    found = [getattr(blas, kind)().getClass().getSimpleName() for kind in ("nativeBLAS", "javaBLAS")]
    words = {
        "JNIBLAS": "a native BLAS",
        "VectorBLAS": "Java's vector instructions",
    }
    used = next((words[name] for name in found if name in words), "plain Java, without vector instructions")
    return f"{used} ({', '.join(dict.fromkeys(found))})"


def under_own_ids(factors: DataFrame, id_map: DataFrame, kind: str, model_id: str) -> DataFrame:
    """`model_id`, `user_id` or `item_id`, `factors` from MLlib's `id` and `features`; `kind` is user or item."""
    names = id_map.where(F.col("kind") == kind).select(
        F.col("index").alias("id"), F.col("id").alias(f"{kind}_id")
    )
    own = names.join(factors, "id")
    return own.select(
        F.lit(model_id).alias("model_id"),
        f"{kind}_id",
        F.col("factors").cast("array<float>").alias("factors"),
    )
