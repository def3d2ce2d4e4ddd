"""Several frames and settings kept as one folder: what a recommender has learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.errors import TableError


def save_frames(path: str, kind: str, frames: Mapping[str, DataFrame], settings: Mapping[str, Any]) -> None:
    """Keeps frames (Parquet) and settings (JSON) as one folder: written beside it and moved into place when whole."""
    spark = next(iter(frames.values())).sparkSession
    # Of two who save at a time one wins, and neither writes into what is the other's.
    new = f"{path.rstrip('/')}.{uuid4().hex}.new"
    files, fs = _hadoop(spark, new)
    try:
        for name, frame in frames.items():
            frame.write.parquet(f"{new}/{name}")
        about = spark.createDataFrame(
            [(json.dumps({"kind": kind, "settings": dict(settings)}),)], "about string"
        )
        about.coalesce(1).write.text(f"{new}/about")
        fs.delete(files(path), True)
        if not fs.rename(files(new), files(path)):
            raise TableError(
                f"Cannot move the saved recommender from {new} to {path}: check that its parent folder exists."
            )
    finally:
        fs.delete(files(new), True)


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
