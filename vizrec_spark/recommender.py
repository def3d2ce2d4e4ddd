"""What every recommender can do, so that an evaluation needs to know none of them."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from pyspark.sql import DataFrame, SparkSession


@runtime_checkable
class Recommender(Protocol):
    """Learns from interactions and ranks unseen items for users."""

    def fit(self, interactions: DataFrame) -> Self:
        """Learns from rows of table `interactions` (or any frame of those columns). Runs Spark jobs."""
        ...

    def recommend(self, users: DataFrame, k: int) -> DataFrame:
        """`user_id` string, `rank` int (1 is best, without gaps), `item_id` string, `score` double.

        users: `user_id`, each once. At most k rows a user, best first by score and, of equal scores, by item id;
        none that the user had an interaction with in `fit`. A user of whom nothing is known gets what the
        recommender has for strangers, which may be nothing. Lazy.
        """
        ...

    def save(self, path: str) -> None:
        """Keeps what was learned in the folder `path` of any Hadoop file system, in place of what was there."""
        ...

    @classmethod
    def load(cls, spark: SparkSession, path: str) -> Self:
        """What `save` kept; it recommends the same to the last bit."""
        ...

    def unpersist(self) -> None:
        """Lets go of what `fit` keeps in Spark's memory, if anything; it has to be fitted or loaded again."""
        ...
