"""Thousands of broken pictures and records in one run of the stage: each is accounted for, and memory stays bounded."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from tests.landing import Ingested, ingest, put
from vizrec_spark.imaging.formats import FORMATS
from vizrec_spark.tables.reasons import BY_CODE
from vizrec_spark.tables.schemas import INTERACTIONS, ITEMS

PICTURES = 2_000
ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
MAX_PIXELS = 4_000_000
MEGABYTE = 2**20
Damage = Callable[[str, random.Random], bytes]


def sound(kind: str, generator: random.Random, side: int = 48) -> bytes:
    pixels = np.random.default_rng(generator.getrandbits(32)).integers(
        0, 256, (side, side, 3), dtype=np.uint8
    )
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return struct.pack(">I", size) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def flipped(kind: str, generator: random.Random) -> bytes:
    content = bytearray(sound(kind, generator))
    for _ in range(generator.randint(1, 64)):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(content)


def cut(kind: str, generator: random.Random) -> bytes:
    content = sound(kind, generator)
    return content[: generator.randrange(16, len(content) * 9 // 10)]


def bomb(kind: str, generator: random.Random) -> bytes:
    """Few bytes that are a great many pixels: some only by their header, some truly, all of one colour."""
    if generator.random() < 0.5:
        side = generator.randint(2_001, 60_000)
        return png(side, side, chunk(b"IDAT", zlib.compress(bytes(1000))))
    return plain(kind)


@cache
def plain(kind: str) -> bytes:
    """A picture larger than the limit, all of one colour."""
    stream = BytesIO()
    Image.new("L", (2_500, 2_500), 7).save(stream, kind)
    return stream.getvalue()


@cache
def lies() -> list[bytes]:
    """Chunks of a PNG: one that says it is far longer than it is, one that unpacks to 30 MB."""
    packed = b"k\0\0" + zlib.compress(bytes(30 * MEGABYTE))
    return [chunk(b"iTXt", b"x" * 99, length=2**31 - 1), chunk(b"zTXt", packed)]


def headed(kind: str, generator: random.Random) -> bytes:
    """An enormous header, or one that says it is."""
    content = sound(kind, generator)
    if kind == "JPEG":
        return content[:2] + 8 * (b"\xff\xe5\xff\xff" + bytes(65_533)) + content[2:]
    if kind == "TIFF":
        place = struct.unpack("<I", content[4:8])[0]
        return content[:place] + b"\xff\xff" + content[place + 2 :]
    return png(48, 48, generator.choice(lies()), chunk(b"IDAT", zlib.compress(bytes(49 * 3 * 48))))


def polyglot(kind: str, generator: random.Random) -> bytes:
    """A picture that is something else too, by what stands before or behind it."""
    content = sound(kind, generator)
    archive = b"PK\x03\x04" + bytes(60) + b"PK\x05\x06" + bytes(18)
    page = b"<html><script>alert(1)</script></html>"
    return generator.choice(
        [content + archive, content + page, b"%PDF-1.7\n" + content, page + content, archive + content]
    )


def empty(_: str, __: random.Random) -> bytes:
    return b""


def garbage(_: str, generator: random.Random) -> bytes:
    return generator.choice([b"", b"\xff\xd8\xff", b"BM", b"GIF89a", b"RIFF"]) + generator.randbytes(
        generator.randint(1, 999)
    )


def renamed(kind: str, generator: random.Random) -> bytes:
    """A sound picture, under the ending of another format."""
    return sound(kind, generator)


# What is done to a picture -> for what it may be refused; None: it may be accepted.
REFUSALS: dict[Damage, set[str | None]] = {
    flipped: {None, "truncated", "undecodable", "not_an_image", "decompression_bomb"},
    cut: {"truncated", "not_an_image"},
    empty: {"empty_file"},
    bomb: {"decompression_bomb"},
    headed: {None, "truncated", "undecodable", "not_an_image", "decompression_bomb"},
    polyglot: {None, "not_an_image"},
    garbage: {"truncated", "undecodable", "not_an_image", "decompression_bomb"},
    renamed: {None},
}


def broken_pictures(generator: random.Random) -> dict[str, tuple[bytes, Damage]]:
    """By file name: the bytes, and what was done to them. A third of the names, and all of `renamed`, have the ending
    of another format."""
    made = {}
    for number, damage in enumerate(islice(cycle(REFUSALS), PICTURES)):
        kind = FORMATS[number // len(REFUSALS) % len(FORMATS)].name
        others = [ending for other, ending in ENDINGS.items() if other != kind]
        ending = ENDINGS[kind] if number % 3 and damage is not renamed else generator.choice(others)
        made[f"{number:04}.{ending}"] = damage(kind, generator), damage
    return made


# What may stand in a field that somebody else has filled in.
NOISE = [
    *(
        "\x00",
        "\x1b[31m",
        "\u202e",
        "\ufeff",
        "'",
        "\\",
        ";",
        "\t",
        "🎁",
        "%s",
        "{}",
        "$(x)",
        "../",
        "-",
        "1e999",
    ),
    *(
        "x" * 70_000,
        f"a{' ' * 70_000}b",
        "/" * 70_000,
        "./" * 35_000,
        "9" * 70_000,
        f"{'9' * 70_000}x",
        "|" * 70_000,
    ),
    'a "quoted",\nbroken line',
    "caf\udce9",  # a lone byte of another encoding
]


def broken_record(fields: list[str], generator: random.Random) -> str:
    """One record of a CSV file, with a field that is empty, odd, missing or one too many."""
    fields, place = list(fields), generator.randrange(len(fields))
    match generator.randrange(4):
        case 0:
            fields[place] = ""
        case 1:
            text = fields[place]
            at = generator.randint(0, len(text))
            fields[place] = text[:at] + generator.choice(NOISE) + text[at:]
        case 2:
            del fields[place]
        case 3:
            fields.insert(place, generator.choice(NOISE))
    return record(fields)


def record(fields: list[str]) -> str:
    return ",".join(f'"{f.replace(chr(34), 2 * chr(34))}"' if set(f) & set('",\n') else f for f in fields)


@dataclass(frozen=True)
class Flood:
    """A run on broken input: what came in, and what Python's workers took for it."""

    run: Ingested
    pictures: dict[str, tuple[bytes, Damage]]
    catalogue: int
    log: int
    taken: int
    """Bytes of memory that the largest worker has held at its peak."""


@pytest.fixture(scope="module")
def flood(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Flood:
    folder, generator = tmp_path_factory.mktemp("broken"), random.Random(8)
    pictures = broken_pictures(generator)
    for name, (content, _) in pictures.items():
        put(folder / "landing", name, content)
    names = iter(pictures)
    sound_items = [
        record([f"i{n}", "Hat", "0 to 9 years| 1 piece", "4.90", f"{next(names)}|{next(names)}"])
        for n in range(1_000)
    ]
    outside = put(folder, "outside.png", sound("PNG", generator))
    named = f"../{outside.name}|below/../../{outside.name}|{outside}"
    sound_items.append(record(["climber", "Hat", "", "1", named]))
    odd_items = [broken_record([f"b{n}", "Bag", "bags|blue", "9.50", ""], generator) for n in range(1_000)]
    sound_log = [
        record([f"u{n % 50}", f"i{n % 1_000}", "view", "", f"{1_700_000_000 + n}"]) for n in range(500)
    ]
    odd_log = [
        broken_record([f"u{n % 50}", f"i{n}", "rating", "4.5", f"{1_700_000_000 + n}"], generator)
        for n in range(1_000)
    ]
    for name, head, lines in (
        ("items.csv", "item_id,title,categories,price,image", [*sound_items, *odd_items]),
        ("events.csv", "user_id,item_id,event,rating,timestamp", [*sound_log, *odd_log]),
    ):
        generator.shuffle(lines)
        put(folder / "landing", name, "\n".join([head, *lines]) + "\n")
    before = peaks_of_workers(spark)
    with workers_of_its_own(spark):
        run = ingest(
            spark,
            folder,
            [
                "ingest.catalogue.columns={title: title, categories: categories, price: price}",
                "ingest.interactions.columns.rating=rating",
                f"ingest.images.max_pixels={MAX_PIXELS}",
                "ingest.max_refused_share=1",
            ],
        )
    taken = max(peak for worker, peak in peaks_of_workers(spark).items() if worker not in before)
    return Flood(run, pictures, len(sound_items) + len(odd_items), len(sound_log) + len(odd_log), taken)


@contextmanager
def workers_of_its_own(spark: SparkSession) -> Iterator[None]:
    """Functions that are defined meanwhile run in Python workers that have done nothing yet: Spark lends a worker only
    to functions of the same environment."""
    environment = spark.sparkContext.environment
    environment["VIZREC_WORKERS"] = __name__
    try:
        yield
    finally:
        del environment["VIZREC_WORKERS"]


def peaks_of_workers(spark: SparkSession) -> dict[Path, int]:
    """By folder in /proc: the most bytes of memory that each of the session's Python processes has held."""
    jvm = spark.sparkContext._gateway.proc.pid
    parents, found = {jvm}, {}
    processes = sorted((p for p in Path("/proc").iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    for process in processes:
        with suppress(OSError, KeyError):  # it may end meanwhile
            status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
            if int(status["PPid"]) in parents and "python" in status["Name"]:
                parents.add(int(process.name))
                found[process] = 1024 * int(status["VmHWM"].split()[0])
    return found


def test_every_picture_is_accepted_or_refused_for_what_was_done_to_it(flood: Flood) -> None:
    accepted = {row.path: None for row in flood.run.images}
    files = [row for row in flood.run.refused if row.source == "images" and row.reason != "missing_file"]
    refused = {row.record: row.reason for row in files}
    judged = refused | accepted
    assert len(flood.pictures) == PICTURES and judged.keys() == flood.pictures.keys()
    assert len(judged) == len(flood.run.images) + len(files)  # each once
    wrong = {
        name: (may.__name__, judged[name])
        for name, (_, may) in flood.pictures.items()
        if judged[name] not in REFUSALS[may]
    }
    assert wrong == {}
    assert set(judged.values()) == set.union(*REFUSALS.values())
    # Not all of a kind of damage is harmless.
    harmed = {may for name, (_, may) in flood.pictures.items() if judged[name] is not None}
    assert harmed == REFUSALS.keys() - {renamed}


def test_a_path_does_not_lead_out_of_the_folder(flood: Flood) -> None:
    named = [row for row in flood.run.refused if row.key == "climber"]
    assert [row.reason for row in named] == 3 * ["missing_file"]
    assert "climber" not in {row.item_id for row in flood.run.images}


def test_what_was_accepted_has_its_own_bytes(flood: Flood) -> None:
    for row in flood.run.images:
        assert row.sha256 == hashlib.sha256(flood.pictures[row.path][0]).hexdigest()
        assert 0 < row.width * row.height <= MAX_PIXELS


def test_every_record_is_accepted_or_refused_with_advice(flood: Flood) -> None:
    for source, table, came in (
        ("catalogue", ITEMS, flood.catalogue),
        ("interactions", INTERACTIONS, flood.log),
    ):
        refused = [row for row in flood.run.refused if row.source == source]
        assert all(row.reason in BY_CODE and len(row.message) > 10 and row.record for row in refused)
        assert flood.run.tables.read(table).count() + len(refused) == came
        assert len({row.reason for row in refused}) >= 4


def test_what_is_sound_is_kept_among_what_is_not(flood: Flood) -> None:
    items = {row.item_id: row.categories for row in flood.run.tables.read(ITEMS).collect()}
    assert all(items[f"i{n}"] == ["0 to 9 years", "1 piece"] for n in range(1_000))
    assert flood.run.tables.read(INTERACTIONS).where("event = 'view'").count() >= 500


def test_memory_is_bounded_by_what_the_configuration_allows(flood: Flood) -> None:
    """17 bytes a pixel at most (see `imaging.decode`), three copies of a batch of 64 MB and the libraries."""
    came = sum(len(content) for content, _ in flood.pictures.values())
    print(f"{flood.taken / MEGABYTE:.0f} MB for {came / MEGABYTE:.0f} MB of files")
    assert 0 < flood.taken < 17 * MAX_PIXELS + 3 * 64 * MEGABYTE + 250 * MEGABYTE
