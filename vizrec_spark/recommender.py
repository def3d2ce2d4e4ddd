"""What every recommender can do, so that an evaluation needs to know none of them, and how its frames are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.errors import TableError


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


def save_frames(path: str, kind: str, frames: Mapping[str, DataFrame], settings: Mapping[str, Any]) -> None:
    """Keeps frames (Parquet) and settings (JSON) as one folder: written beside it and moved into place when whole."""
    spark = next(iter(frames.values())).sparkSession
    new = f"{path.rstrip('/')}.new"
    files, fs = _hadoop(spark, new)
    fs.delete(files(new), True)
    for name, frame in frames.items():
        frame.write.parquet(f"{new}/{name}")
    about = spark.createDataFrame([(json.dumps({"kind": kind, "settings": dict(settings)}),)], "about string")
    about.coalesce(1).write.text(f"{new}/about")
    fs.delete(files(path), True)
    if not fs.rename(files(new), files(path)):
        raise TableError(
            f"Cannot move the saved recommender from {new} to {path}: check that its parent folder exists."
        )


def load_frames(
    spark: SparkSession, path: str, kind: str, names: tuple[str, ...]
) -> tuple[dict[str, DataFrame], Any]:
    """The frames `names` and the settings that `save_frames` kept at `path`.

    Raises: TableError when nothing, or another kind of recommender, was saved there.
    """
    files, fs = _hadoop(spark, path)
    if not fs.exists(files(f"{path}/about")):
        raise TableError(f"No recommender is saved at {path}: expected what {kind}.save has written.")
    about = json.loads(spark.read.text(f"{path}/about").collect()[0].value)
    if about["kind"] != kind:
        raise TableError(
            f"{path} holds a saved {about['kind']}, expected a {kind}: load it with its own class."
        )
    return {name: spark.read.parquet(f"{path}/{name}") for name in names}, about["settings"]


def _hadoop(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """Hadoop's class of paths, and the file system that `path` lies in."""
    paths = spark._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    return paths, paths(path).getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
