"""Each way in which a picture can be refused, and each kind of picture that must come out right."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vizrec_spark.errors import ImageRefused
from vizrec_spark.imaging import ImageInfo, inspect_image, load_rgb

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]


def gradient(width: int = 60, height: int = 40) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / width, 255 * y / height
    return Image.fromarray(np.stack([red, green, 255 - red], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def reason_of(content: bytes, **options: int) -> str:
    with pytest.raises(ImageRefused) as refusal:
        inspect_image(content, **options)
    with pytest.raises(ImageRefused) as again:
        load_rgb(content, (8, 8), **options)
    assert again.value.reason == refusal.value.reason
    assert refusal.value.message
    return refusal.value.reason


@pytest.mark.parametrize("kind", FORMATS)
def test_every_allowed_format_is_read(kind: str) -> None:
    content = encoded(gradient(), kind)
    assert inspect_image(content) == ImageInfo(60, 40, kind)
    pixels = load_rgb(content, (40, 60))
    assert pixels.shape == (40, 60, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(gradient()).astype(int)).mean() < 8


def test_empty_file() -> None:
    assert reason_of(b"") == "empty_file"


@pytest.mark.parametrize(
    "content",
    [b"id,title\n1,hat\n", b"%PDF-1.7 ...", b"RIFF\x10\0\0\0WAVEfmt ", b"\0" * 200, b"BM" + b"x" * 99],
)
def test_not_an_image(content: bytes) -> None:
    assert reason_of(content) == "not_an_image"


def test_a_known_start_without_a_header_is_not_an_image() -> None:
    header = struct.pack("<IHHII", 94, 0, 0, 54, 40)
    assert reason_of(b"BM" + header + b"\xee" * 76) == "not_an_image"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.9])
def test_truncated(kind: str, kept: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    content = encoded(noise, kind)
    assert reason_of(content[: int(len(content) * kept)]) == "truncated"


def test_decompression_bomb_is_judged_before_any_pixel_memory() -> None:
    # 10^10 pixels: decoding would need 30 GB, so only the header can have been looked at.
    assert reason_of(png_header(100_000, 100_000)) == "decompression_bomb"


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limit_on_pixels_is_the_callers(kind: str) -> None:
    content = encoded(gradient(60, 40), kind)
    assert inspect_image(content, max_pixels=2400).width == 60
    assert reason_of(content, max_pixels=2399) == "decompression_bomb"


@pytest.mark.parametrize(
    ("options", "kind"), [({}, "VP8 "), ({"lossless": True}, "VP8L"), ({"exif": b"x"}, "VP8X")]
)
def test_webp_bombs_are_seen_in_all_three_kinds_of_header(options: dict[str, object], kind: str) -> None:
    content = encoded(gradient(61, 43), "WEBP", **options)
    assert content[12:16] == kind.encode()
    assert reason_of(content, max_pixels=61 * 43 - 1) == "decompression_bomb"
    assert inspect_image(content, max_pixels=61 * 43) == ImageInfo(61, 43, "WEBP")


def test_undecodable() -> None:
    content = bytearray(encoded(gradient(), "PNG"))
    start = content.index(b"IDAT") + 4
    content[start : start + 20] = b"\xff" * 20
    assert reason_of(bytes(content)) == "undecodable"
    assert reason_of(png_header(0, 10)) in {"undecodable", "not_an_image"}


def test_refusals_survive_pickling() -> None:
    import pickle

    copy = pickle.loads(pickle.dumps(ImageRefused("truncated", "ends too early")))
    assert (copy.reason, copy.message) == ("truncated", "ends too early")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = gradient(60, 40)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, "PNG", exif=exif)
    assert inspect_image(content)[:2] == (60, 40)
    expected = np.asarray(upright.resize((30, 20), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(load_rgb(content, (20, 30)).astype(int) - expected).max() <= 1


def test_transparency_is_composed_on_white() -> None:
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    assert load_rgb(encoded(half, "PNG"), (8, 8))[0, 0].tolist() == [255, 127, 127]
    grey = Image.new("LA", (8, 8), (0, 0))
    assert load_rgb(encoded(grey, "PNG"), (8, 8)).min() == 255
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    assert load_rgb(encoded(palette, "PNG", transparency=1), (8, 8)).min() == 255
    assert load_rgb(encoded(palette, "PNG"), (8, 8))[0, 0].tolist() == [0, 0, 255]
    keyed = Image.new("RGB", (8, 8), (1, 2, 3))
    assert load_rgb(encoded(keyed, "PNG", transparency=(1, 2, 3)), (8, 8)).min() == 255


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    wide = Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16))
    assert load_rgb(encoded(wide, kind), (8, 8))[0, 0].tolist() == [128, 128, 128]


def test_float_and_32_bit_samples_are_scaled() -> None:
    unit = Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32))
    assert abs(int(load_rgb(encoded(unit, "TIFF"), (8, 8))[0, 0, 0]) - 128) <= 1
    deep = Image.fromarray(np.full((8, 8), 32768, dtype=np.int32))
    assert load_rgb(encoded(deep, "TIFF"), (8, 8))[0, 0].tolist() == [128, 128, 128]


def test_cmyk_and_grey_and_bilevel() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        pixel = load_rgb(encoded(red, kind), (8, 8))[0, 0].astype(int)
        assert np.abs(pixel - [255, 0, 0]).max() <= 3
    assert load_rgb(encoded(Image.new("L", (8, 8), 77), "PNG"), (4, 4))[0, 0].tolist() == [77] * 3
    assert load_rgb(encoded(Image.new("1", (8, 8), 1), "PNG"), (4, 4)).min() == 255


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animated_file(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(load_rgb(content, (8, 8))[0, 0].astype(int) - [255, 0, 0]).max() <= 4


def test_size_is_height_and_width_and_the_filter_is_antialiased_bilinear() -> None:
    image = gradient(200, 100)
    pixels = load_rgb(encoded(image, "PNG"), (10, 30))
    assert pixels.shape == (10, 30, 3)
    assert np.array_equal(pixels, np.asarray(image.resize((30, 10), Image.Resampling.BILINEAR)))


def test_a_corrupt_exif_block_does_not_refuse_the_picture() -> None:
    content = encoded(gradient(), "JPEG", exif=b"Exif\0\0" + b"II*\0" + b"\xff" * 30)
    assert inspect_image(content) == ImageInfo(60, 40, "JPEG")
