"""Writes a generated shop as the files that a real one would hand over."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from vizrec_spark.demo.catalogue import Catalogue, generate_catalogue
from vizrec_spark.demo.events import generate_events
from vizrec_spark.demo.faults import Fault, break_events, break_items, break_pictures, break_users
from vizrec_spark.demo.pictures import draw_pictures
from vizrec_spark.demo.shoppers import Shoppers, generate_shoppers
from vizrec_spark.demo.truth import Truth
from vizrec_spark.errors import InputError

GENERATOR: Final = 1  # raise it whenever the same parameters give other files
STAMP: Final = "shop.json"
UNFINISHED: Final = "shop.unfinished"
_FILES: Final = ("items.csv", "users.csv", "events.csv")
_FOLDERS: Final = ("images", "truth")


@dataclass(frozen=True)
class ShopSummary:
    """What a generated shop holds, apart from what was planted; ``faults`` lists that."""

    folder: str
    n_items: int
    n_users: int
    n_events: int
    n_pictures: int
    """Pictures that can be decoded and belong to a product."""
    n_new: int
    """Products without any event because they came after the last one."""
    n_idle: int
    """Shoppers without any event."""
    faults: tuple[Fault, ...]

    def fault_counts(self) -> dict[tuple[str, str], int]:
        """How many records were planted by (source, reason), as the quarantine should count them."""
        return {(fault.source, fault.reason): fault.count for fault in self.faults}

    def __str__(self) -> str:
        planted = sum(fault.count for fault in self.faults)
        return (
            f"{self.n_items:,} products ({self.n_new:,} new), {self.n_pictures:,} pictures, "
            f"{self.n_users:,} shoppers ({self.n_idle:,} idle), {self.n_events:,} events, "
            f"{planted:,} planted faults in {self.folder}"
        )


def write_shop(
    folder: str | Path,
    *,
    n_items: int = 600,
    n_users: int = 400,
    n_events: int = 12_000,
    image_size: int = 256,
    seed: int = 7,
    broken: bool = True,
    pictures: bool = True,
    workers: int | None = None,
) -> ShopSummary:
    """Generates a shop in ``folder``: catalogue, shoppers, events and pictures, the same for the same parameters.

    Files: ``items.csv`` (item_id, title, kind, colour, pattern, price, added_at ISO 8601, image as a path below
    the folder or empty), ``users.csv`` (user_id), ``events.csv`` (user_id, item_id, event, timestamp in epoch
    seconds), ``images/*.jpg`` and, for tests alone, ``truth/items.csv`` and ``truth/shoppers.csv``. With
    ``broken`` some faults that real files have are planted. Without ``pictures`` no product has one;
    `drawn_embeddings` then makes vectors of the same products.

    A finished shop of the same parameters is left as it is; any other one, finished or not, is replaced.
    ``workers`` is the number of processes that draw, by default one a usable core.

    Raises: InputError when the folder holds something that is not a generated shop, or a size is impossible.
    """
    folder = Path(folder)
    if image_size < 16:
        raise InputError(f"image_size must be at least 16 pixels; got {image_size}.")
    parameters = {
        "n_items": n_items,
        "n_users": n_users,
        "n_events": n_events,
        "image_size": image_size,
        "seed": seed,
        "broken": broken,
        "pictures": pictures,
    }
    fingerprint = _fingerprint(parameters)
    found = _finished(folder, fingerprint)
    if found is not None:
        return found
    catalogue = generate_catalogue(n_items, seed=seed)
    if not pictures:
        catalogue = replace(catalogue, has_picture=np.zeros(n_items, dtype=bool))
    shoppers = generate_shoppers(n_users, catalogue, seed=seed)
    events = generate_events(n_events, shoppers, catalogue, seed=seed)
    _clear(folder)
    n_pictures = draw_pictures(folder, list(catalogue), seed=seed, size=image_size, workers=workers)
    items, users = catalogue.to_frame(), pd.DataFrame({"user_id": shoppers.user_id})
    items["price"] = items["price"].map("{:.2f}".format)
    n_idle = n_users - events["user_id"].nunique()
    faults: list[Fault] = []
    if broken:
        rng = np.random.default_rng([seed, 6])
        faults += break_pictures(folder, catalogue, rng) if pictures else []
        n_pictures -= sum(f.count for f in faults if f.reason != "unknown_item")
        items, of_items = break_items(items, rng)
        users, of_users = break_users(users, rng)
        events, of_events = break_events(events, rng)
        faults += [*of_items, *of_users, *of_events]
    for name, frame in zip(_FILES, (items, users, events), strict=True):
        frame.to_csv(folder / name, index=False)
    _write_truth(folder, catalogue, shoppers)
    summary = ShopSummary(
        folder=str(folder),
        n_items=n_items,
        n_users=n_users,
        n_events=n_events,
        n_pictures=n_pictures,
        n_new=int(catalogue.is_new.sum()),
        n_idle=n_idle,
        faults=tuple(faults),
    )
    _stamp(folder, fingerprint, parameters, summary)
    return summary


def _fingerprint(parameters: dict[str, Any]) -> str:
    text = json.dumps({"generator": GENERATOR, **parameters}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(folder: Path, fingerprint: str) -> ShopSummary | None:
    """The summary of the shop that stands in the folder if it is whole and has this fingerprint."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        matches = stamp["fingerprint"] == fingerprint
        faults = tuple(Fault(**{**f, "keys": tuple(f["keys"])}) for f in stamp["summary"].pop("faults"))
        summary = ShopSummary(**{**stamp["summary"], "folder": str(folder), "faults": faults})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    whole = all((folder / name).is_file() for name in _FILES) and (folder / "truth").is_dir()
    return summary if matches and whole else None


def _clear(folder: Path) -> None:
    """Removes an earlier shop and leaves a sign that a new one is being made."""
    ours = (folder / STAMP).is_file() or (folder / UNFINISHED).is_file()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder} holds files that are not a generated shop, and they would be overwritten: "
            "name an empty or a new folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()
    (folder / STAMP).unlink(missing_ok=True)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def _write_truth(folder: Path, catalogue: Catalogue, shoppers: Shoppers) -> None:
    truth = Truth.of(catalogue, shoppers)
    (folder / "truth").mkdir()
    truth.items.to_csv(folder / "truth" / "items.csv", index=False)
    truth.shoppers.to_csv(folder / "truth" / "shoppers.csv", index=False)


def _stamp(folder: Path, fingerprint: str, parameters: dict[str, Any], summary: ShopSummary) -> None:
    """Says that the shop is finished; renamed into place, so that it is there whole or not at all."""
    content = {"fingerprint": fingerprint, "parameters": parameters, "summary": asdict(summary)}
    draft = folder / f"{STAMP}.draft"
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / STAMP)
    (folder / UNFINISHED).unlink(missing_ok=True)
