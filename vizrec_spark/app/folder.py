"""Takes a folder of CSV files and pictures as it is: finds the columns by their usual names."""

from __future__ import annotations

import csv
from pathlib import Path

from vizrec_spark.config import setting
from vizrec_spark.errors import InputError
from vizrec_spark.stage import log

_ITEM = ("item_id", "itemId", "movieId", "product_id", "productId", "sku", "asin", "id")
_CATALOGUE = {
    "item_id": _ITEM,
    "title": ("title", "name", "product_name"),
    "categories": ("categories", "genres", "category", "kind", "type"),
    "price": ("price",),
    "added_at": ("added_at", "release_date"),
    "image": ("image", "image_path", "picture", "filename"),
}
_LOG = {
    "user_id": ("user_id", "userId", "user", "customer_id"),
    "item_id": _ITEM,
    "timestamp": ("timestamp", "time", "ts"),
    "event": ("event", "event_type", "action"),
    "rating": ("rating", "stars"),
}
CATALOGUE = "items.csv"
_LOG_FILES = ("events.csv", "ratings.csv", "interactions.csv")


def folder_overrides(folder: Path, *, guess_columns: bool = True) -> list[str]:
    """``--set`` pairs that make `folder` the input: items.csv, events.csv or ratings.csv, users.csv, pictures.

    With `guess_columns` the mapping comes from the files' headers by names in common use; without it only the
    paths are given.

    Raises: InputError naming the missing file or column.
    """
    catalogue = folder / CATALOGUE
    logs = [folder / name for name in _LOG_FILES if (folder / name).is_file()]
    if not catalogue.is_file() or not logs:
        raise InputError(
            f"{folder} must hold {CATALOGUE} and one of {', '.join(_LOG_FILES)}, with the pictures beside or below. "
            "For another layout write a configuration (conf/base.yml lists the keys) and run `vizrec pipeline`."
        )
    if len(logs) > 1:
        log.warning("%s: taking %s; not read: %s", folder, logs[0].name, ", ".join(f.name for f in logs[1:]))
    users = folder / "users.csv"
    pairs = {
        "ingest.catalogue.path": str(catalogue),
        "ingest.interactions.path": str(logs[0]),
        "ingest.images.path": str(folder),
    }
    if users.is_file():
        pairs["ingest.users.path"] = str(users)
    texts = [setting(key, value) for key, value in pairs.items()]
    if guess_columns:
        log_columns = _match(logs[0], _LOG, ("user_id", "item_id", "timestamp"))
        texts.append(setting("ingest.catalogue.columns", _catalogue_columns(catalogue)))
        texts.append(setting("ingest.interactions.columns", log_columns))
    return texts


def count_records(file: Path) -> int:
    """About how many records a CSV file has: its lines, less the header."""
    with file.open("rb") as stream:
        return max(sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b"")) - 1, 0)


def _catalogue_columns(file: Path) -> dict[str, object]:
    columns: dict[str, object] = dict(_match(file, _CATALOGUE, ("item_id",)))
    taken = set(columns.values())
    columns["attributes"] = [name for name in _header(file) if name and name not in taken]
    return columns


def _match(file: Path, usual: dict[str, tuple[str, ...]], required: tuple[str, ...]) -> dict[str, str | None]:
    header = _header(file)
    found = {key: next((n for n in names if n in header), None) for key, names in usual.items()}
    missing = [key for key in required if found[key] is None]
    if missing:
        tried = "; ".join(f"{key} as one of {', '.join(usual[key])}" for key in missing)
        raise InputError(
            f"{file} has the columns {', '.join(header)}; looked for {tried}. Name them in a --config file."
        )
    return found


def _header(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return [name.strip() for name in next(csv.reader(stream), [])]
    except UnicodeDecodeError:
        raise InputError(
            f"{file} is not UTF-8 text: save it as UTF-8, or name its encoding (`options: {{encoding: ISO-8859-1}}`) "
            "in a configuration for `vizrec pipeline`."
        ) from None
