"""A saved recommender is replaced whole, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from vizrec_spark.errors import TableError
from vizrec_spark.tables.frames import load_frames, replace_folder, save_frames


class Failing:
    """The real file system, but for moves of folders whose name ends in `new`."""

    def __init__(self, fs: Any, error: Exception | None) -> None:
        self.fs, self.error = fs, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fs, name)

    def rename(self, old: Any, new: Any) -> bool:
        if not old.getName().endswith("new"):
            return bool(self.fs.rename(old, new))
        if self.error is not None:
            raise self.error
        return False


@pytest.mark.parametrize("error", [None, OSError("gone")])
def test_what_was_saved_before_stays_when_the_move_fails(
    spark: SparkSession, tmp_path: Path, error: Exception | None
) -> None:
    for name in ("place", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "said").write_text(name)
    of = spark._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    place, new, aside = (of(str(tmp_path / name)) for name in ("place", "new", "aside"))
    fs = place.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    with pytest.raises(TableError if error is None else OSError):
        replace_folder(Failing(fs, error), new, place, aside)
    assert (tmp_path / "place" / "said").read_text() == "place"
    replace_folder(fs, new, place, aside)
    assert (tmp_path / "place" / "said").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["place"]


def test_a_second_save_takes_the_place_of_the_first(spark: SparkSession, tmp_path: Path) -> None:
    place = str(tmp_path / "model")
    for n in (1, 2):
        save_frames(place, "Some", {"items": spark.range(n)}, {"n": n})
    frames, settings = load_frames(spark, place, "Some", ("items",))
    assert (frames["items"].count(), settings) == (2, {"n": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
