"""A folder taken as it is: columns by their usual names, and clear words where that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizrec_spark.app.folder import folder_overrides
from vizrec_spark.config import load_config
from vizrec_spark.errors import InputError

LOG = "userId,movieId,rating,timestamp\n"


def folder(path: Path, items: bytes, log: str = LOG, name: str = "ratings.csv") -> Path:
    (path / "items.csv").write_bytes(items)
    (path / name).write_text(log)
    return path


def test_columns_are_found_by_their_usual_names(tmp_path: Path) -> None:
    made = folder(tmp_path, "\ufeffmovieId,name,genres,year\n".encode())
    config = load_config(None, folder_overrides(made)).ingest
    columns = config.catalogue.columns
    assert (columns.item_id, columns.title, columns.categories) == ("movieId", "name", "genres")
    assert (columns.price, columns.image, columns.attributes) == (None, None, ("year",))
    log = config.interactions.columns
    assert (log.user_id, log.item_id, log.event, log.rating) == ("userId", "movieId", None, "rating")
    assert config.users.path is None
    (tmp_path / "users.csv").write_text("user_id\n")
    assert load_config(None, folder_overrides(made)).ingest.users.path == str(tmp_path / "users.csv")


def test_a_column_without_a_name_is_no_attribute(tmp_path: Path) -> None:
    made = folder(tmp_path, b"item_id,title,,colour\n")
    assert load_config(None, folder_overrides(made)).ingest.catalogue.columns.attributes == ("colour",)


@pytest.mark.parametrize(
    ("items", "log", "words"),
    [
        ("item_id,Größe\n".encode("latin-1"), LOG, "items.csv is not UTF-8 text.*encoding"),
        (b"", LOG, "looked for item_id as one of item_id, itemId"),
        (b"item_id\n", "who,what\n", "ratings.csv has the columns who, what; looked for user_id as one of"),
    ],
)
def test_what_cannot_be_taken_is_named(tmp_path: Path, items: bytes, log: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        folder_overrides(folder(tmp_path, items, log))


def test_a_folder_without_a_log_says_which_files_it_wants(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold items\.csv and one of events\.csv, ratings\.csv"):
        folder_overrides(folder(tmp_path, b"item_id\n", name="notes.csv"))
