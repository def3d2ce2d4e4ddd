"""Whatever the bytes are, decoding gives a picture or an `ImageRefused`, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vizrec_spark.errors import ImageRefused
from vizrec_spark.imaging import REASONS, inspect_image, load_rgb
from vizrec_spark.imaging.formats import FORMATS

LIMIT = 1_000_000


def _samples() -> dict[str, bytes]:
    generator = np.random.default_rng(3)
    picture = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {}
    for kind in FORMATS:
        buffer = io.BytesIO()
        picture.save(buffer, kind.name, exif=exif)
        found[kind.name] = buffer.getvalue()
    buffer = io.BytesIO()
    picture.convert("P").save(buffer, "PNG", transparency=0)
    found["PNG palette"] = buffer.getvalue()
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", progressive=True)
    found["JPEG progressive"] = buffer.getvalue()
    return found


SAMPLES = _samples()


def decodes_or_refuses(content: bytes) -> None:
    try:
        info = inspect_image(content, max_pixels=LIMIT)
    except ImageRefused as refusal:
        assert refusal.reason in REASONS
        with pytest.raises(ImageRefused):
            load_rgb(content, (16, 12), max_pixels=LIMIT)
        return
    assert 1 <= info.width * info.height <= LIMIT
    try:
        pixels = load_rgb(content, (16, 12), max_pixels=LIMIT)
    except ImageRefused as refusal:
        assert refusal.reason in REASONS
    else:
        assert pixels.shape == (16, 12, 3)
        assert pixels.dtype == np.uint8


@given(st.binary(max_size=300))
def test_arbitrary_bytes(content: bytes) -> None:
    decodes_or_refuses(content)


@given(st.sampled_from([s for f in FORMATS for s in f.signatures]), st.binary(max_size=200))
def test_arbitrary_bytes_behind_a_known_start(start: bytes, rest: bytes) -> None:
    decodes_or_refuses(start + rest)


@settings(max_examples=400)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_flipped_bits_and_cut_files(name: str, data: st.DataObject) -> None:
    content = bytearray(SAMPLES[name])
    # Headers are where the damage is interesting, so half of the flips go there.
    near = st.integers(0, min(80, len(content) - 1))
    anywhere = st.integers(0, len(content) - 1)
    for position in data.draw(st.lists(near | anywhere, max_size=8)):
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    end = data.draw(st.none() | st.integers(0, len(content)))
    decodes_or_refuses(bytes(content[:end]))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_a_sound_picture_always_comes_out_at_the_asked_size(w: int, h: int, height: int, width: int) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (w, h), (10, 200, 30)).save(buffer, "PNG")
    pixels = load_rgb(buffer.getvalue(), (height, width))
    assert pixels.shape == (height, width, 3)
    assert (pixels == (10, 200, 30)).all()
