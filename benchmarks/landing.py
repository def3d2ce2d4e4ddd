"""A landing folder of JPEG files for benchmarks: photos of a folder, or generated ones, each with bytes of its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIDES = (400, 533)
"""Width and height of generated pictures, in pixels: those of a shop's medium size."""


def write_landing(folder: Path, count: int, source: Path | None, *, first: int = 0) -> int:
    """`count` pictures from number `first` on, ``items.csv`` for all that are there, and an empty log.

    Returns how many different pictures there are to show: `count` where they are generated, else at most the
    number of JPEG files below `source`, after which the same ones come again with another comment in them.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    files = sorted(source.rglob("*.jpg")) if source is not None else []
    for number in range(first, first + count):
        content = files[number % len(files)].read_bytes() if files else generated(number)
        (images / f"{number:07}.jpg").write_bytes(commented(content, number))
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["item_id", "title", "image"])
        table.writerows([path.stem, path.stem, f"images/{path.name}"] for path in sorted(images.iterdir()))
    (folder / "events.csv").write_text("user_id,item_id,timestamp,event\n", encoding="utf-8")
    return min(first + count, len(files)) if files else first + count


def landing_overrides(folder: Path) -> list[str]:
    """What makes stage `ingest` read it."""
    return [
        f"ingest.catalogue.path={folder / 'items.csv'}",
        f"ingest.interactions.path={folder / 'events.csv'}",
        "ingest.interactions.columns.event=event",
        f"ingest.images.path={folder}",
    ]


def contents(folder: Path, count: int) -> Iterator[bytes]:
    """The first `count` files, in order."""
    for path in sorted((folder / "images").iterdir())[:count]:
        yield path.read_bytes()


def generated(number: int, sides: tuple[int, int] = SIDES) -> bytes:
    """Soft shapes with fine grain, of about the bytes of a photo; `sides`: width and height in pixels."""
    generator = np.random.default_rng(number)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize(sides, Image.Resampling.BICUBIC), dtype=np.float32)
    grain = generator.normal(0, 6, (*soft.shape[:2], 1)).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def commented(jpeg: bytes, number: int) -> bytes:
    """The same pixels in other bytes: a comment segment behind the start marker."""
    note = f"{number:012}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + jpeg[2:]
