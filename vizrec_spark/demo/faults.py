"""Plants the faults that a real shop's files have, and keeps count of them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vizrec_spark.demo.catalogue import Catalogue, image_path


@dataclass(frozen=True)
class Fault:
    """What ingestion has to find: ``count`` records of one source with one reason code of the quarantine.

    ``source`` is catalogue, users, interactions or images. ``keys`` names the items, users, events
    (user/item) or picture files concerned; empty where the fault is that there is no key.
    """

    source: str
    reason: str
    count: int
    keys: tuple[str, ...]


_PICTURE_FAULTS = (
    "truncated",
    "empty_file",
    "not_an_image",
    "missing_file",
    "decompression_bomb",
    "truncated",
    "missing_file",
)
_BOMB_SIDE = 60_000


def break_pictures(folder: Path, catalogue: Catalogue, rng: np.random.Generator) -> list[Fault]:
    """Damages some drawn pictures, removes some, adds one of no product. At most half of the pictures suffer."""
    pictured = np.flatnonzero(catalogue.has_picture)
    broken = rng.permutation(pictured)[: min(len(_PICTURE_FAULTS), len(pictured) // 2)]
    keys: dict[str, list[str]] = {}
    for position, reason in zip(broken.tolist(), _PICTURE_FAULTS, strict=False):
        name = image_path(str(catalogue.item_id[position]))
        _break(folder / name, reason)
        keys.setdefault(reason, []).append(name)
    sound = np.setdiff1d(pictured, broken)
    if len(sound):
        stray = image_path("stray")
        source = folder / image_path(str(catalogue.item_id[sound[0]]))
        (folder / stray).write_bytes(source.read_bytes())
        keys["unknown_item"] = [stray]
    return [Fault("images", reason, len(names), tuple(names)) for reason, names in keys.items()]


def break_items(items: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, list[Fault]]:
    """``items`` with a repeated row, one without an id and one with an impossible price put among them."""
    twice = items.iloc[[int(rng.integers(len(items)))]]
    nameless = _like(items.iloc[[0]], item_id="", image="")
    free = _like(items.iloc[[-1]], item_id="x00001", image="", price="-4.90")
    faults = [
        Fault("catalogue", "duplicate_key", 1, (str(twice["item_id"].iloc[0]),)),
        Fault("catalogue", "missing_key", 1, ()),
        Fault("catalogue", "bad_price", 1, ("x00001",)),
    ]
    return _shuffled_in(items, [twice, nameless, free], rng), faults


def break_users(users: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, list[Fault]]:
    """``users`` with one of them listed twice."""
    twice = users.iloc[[int(rng.integers(len(users)))]]
    fault = Fault("users", "duplicate_key", 1, (str(twice["user_id"].iloc[0]),))
    return _shuffled_in(users, [twice], rng), [fault]


def break_events(events: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, list[Fault]]:
    """``events`` with repetitions, unknown items, times that are none, an unknown type and a missing user."""
    some = events.iloc[rng.integers(len(events), size=8)].reset_index(drop=True)
    twice = events.iloc[rng.permutation(len(events))[:3]]
    planted = {
        "duplicate_key": twice,
        "unknown_item": _like(some.iloc[:2], item_id=["x99998", "x99999"]),
        "bad_timestamp": _like(some.iloc[2:4], timestamp=["yesterday", "99999999999999"]),
        "unknown_event": _like(some.iloc[4:5], event="teleport"),
        "missing_key": _like(some.iloc[5:6], user_id=""),
    }
    faults = [
        Fault(
            "interactions",
            reason,
            len(rows),
            tuple(f"{user}/{item}" for user, item in zip(rows["user_id"], rows["item_id"], strict=True)),
        )
        for reason, rows in planted.items()
    ]
    return _shuffled_in(events, list(planted.values()), rng), faults


def _break(file: Path, reason: str) -> None:
    if reason == "missing_file":
        file.unlink()
    elif reason == "truncated":
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    elif reason == "empty_file":
        file.write_bytes(b"")
    elif reason == "not_an_image":
        file.write_text("<html><body>404: this picture has moved</body></html>\n", encoding="utf-8")
    elif reason == "decompression_bomb":
        file.write_bytes(_bomb())
    else:
        raise ValueError(f"no way to plant {reason!r}")


def _bomb() -> bytes:
    """A small PNG file whose header promises 3.6 gigapixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((_BOMB_SIDE // 8 + 1) * 64), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _like(rows: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    """A copy of ``rows`` as text with some columns replaced."""
    return rows.astype(str).assign(**changes)


def _shuffled_in(frame: pd.DataFrame, extra: list[pd.DataFrame], rng: np.random.Generator) -> pd.DataFrame:
    """``frame``, its order kept, with the extra rows at random places."""
    more = pd.concat([rows.astype(str) for rows in extra], ignore_index=True)
    places = np.concatenate([np.arange(len(frame)), rng.uniform(0, len(frame), len(more))])
    both = pd.concat([frame.astype(str), more], ignore_index=True)
    return both.iloc[np.argsort(places, kind="stable")].reset_index(drop=True)
