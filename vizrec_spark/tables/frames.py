"""Several frames and settings kept as one folder: what a recommender has learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.errors import TableError
from vizrec_spark.tables.places import located


def save_frames(path: str, kind: str, frames: Mapping[str, DataFrame], settings: Mapping[str, Any]) -> None:
    """Keeps frames (Parquet) and settings (JSON) as one folder: written beside it and moved into place when whole.

    What stood there is moved aside for that moment, and back if it fails.
    """
    spark = next(iter(frames.values())).sparkSession
    # Of two who save at a time one wins, and neither writes into what is the other's.
    new = f"{path.rstrip('/')}.{uuid4().hex}.new"
    place, fs = located(spark, new)
    try:
        for name, frame in frames.items():
            frame.write.parquet(f"{new}/{name}")
        about = spark.createDataFrame(
            [(json.dumps({"kind": kind, "settings": dict(settings)}),)], "about string"
        )
        about.coalesce(1).write.text(f"{new}/about")
        aside, _ = located(spark, f"{path.rstrip('/')}.{uuid4().hex}.old")
        replace_folder(fs, place, located(spark, path)[0], aside)
    finally:
        fs.delete(place, True)


def replace_folder(fs: Any, new: Any, place: Any, aside: Any) -> None:
    """Moves folder `new` to `place` (Hadoop paths of file system `fs`), where another may stand.

    That one is moved to `aside`, and deleted when all is done. Raises: TableError when `new` cannot be moved; then the
    old one stands at `place` again or, where not even that can be done, at `aside`, which the message names.
    """
    stood = fs.exists(place)
    if stood and not fs.rename(place, aside):
        raise TableError(f"Cannot move {place} aside for its next version; it is left as it is.")
    try:
        moved = fs.rename(new, place)
    except BaseException:
        _back(fs, aside, place, stood)
        raise
    if not moved:
        where = _back(fs, aside, place, stood)
        kept = f" What was there before is at {where}." if stood else ""
        raise TableError(f"Cannot move {new} to {place}: check that its parent folder exists.{kept}")
    if stood:
        fs.delete(aside, True)


def _back(fs: Any, aside: Any, place: Any, stood: bool) -> Any:
    """Where the old folder is after it was moved back, if that could be done."""
    return place if stood and fs.rename(aside, place) else aside


def load_frames(
    spark: SparkSession, path: str, kind: str, names: tuple[str, ...]
) -> tuple[dict[str, DataFrame], Any]:
    """The frames `names` and the settings that `save_frames` kept at `path`.

    Raises: TableError when nothing, or another kind of recommender, was saved there.
    """
    place, fs = located(spark, f"{path}/about")
    if not fs.exists(place):
        raise TableError(f"No recommender is saved at {path}: expected what {kind}.save has written.")
    about = json.loads(spark.read.text(f"{path}/about").collect()[0].value)
    if about["kind"] != kind:
        raise TableError(
            f"{path} holds a saved {about['kind']}, expected a {kind}: load it with its own class."
        )
    return {name: spark.read.parquet(f"{path}/{name}") for name in names}, about["settings"]
