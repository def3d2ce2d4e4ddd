"""Each way in which a picture can be refused, and each kind of picture that must come out right."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from vizrec_spark.errors import ImageRefused
from vizrec_spark.imaging import ImageInfo, colour, formats, inspect_image, load_rgb
from vizrec_spark.imaging.jpeg import decode_jpeg, may_be_turned, scaled_size

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


def progressive(scans: int) -> bytes:
    """A JPEG of few bytes whose last scan comes again and again: each costs a pass over the whole picture."""
    content = encoded(Image.new("L", (64, 48), 128), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + scans * content[last:-2] + content[-2:]


def test_a_jpeg_of_very_many_scans_is_refused_before_they_are_decoded() -> None:
    assert inspect_image(progressive(60)).width == 64
    assert reason_of(progressive(200)) == "decompression_bomb"


def test_what_looks_like_scans_in_metadata_and_behind_the_picture_is_none() -> None:
    content = encoded(gradient(), "JPEG")
    block = b"\xff\xda" * 300
    noted = content[:2] + b"\xff\xe5" + (len(block) + 2).to_bytes(2) + block + content[2:]
    for harmless in (noted, content + block, content + bytes(99) + block):
        assert inspect_image(harmless) == ImageInfo(60, 40, "JPEG")


def test_a_tiff_whose_tile_is_larger_than_the_limit_is_a_bomb() -> None:
    """libtiff decodes a tile whole, however small the picture in it."""
    content = encoded(gradient(64, 64), "TIFF")
    tiled = Image.open(io.BytesIO(content))
    assert formats.tiff_tile(tiled, content) is None  # strips
    tiled.tag_v2[TiffImagePlugin.TILEWIDTH], tiled.tag_v2[TiffImagePlugin.TILELENGTH] = 26_000, 26_000
    assert formats.tiff_tile(tiled, content) == (26_000, 26_000)
    assert reason_of(tiff_with_tile(26_000)) == "decompression_bomb"
    # Pillow passes over whole numbers of 8 bytes with a sign, and libtiff takes them.
    hidden = bytearray(tiff_with_tile(26_000))
    for tag in (322, 323):
        at = hidden.index(struct.pack("<HHI", tag, 4, 1))
        hidden[at : at + 8] = struct.pack("<HHI", tag, 17, 1)
    assert reason_of(bytes(hidden)) == "undecodable"
    for content in (b"MM\0*" + bytes(4), b"II*\0\xff\xff\xff\xff", b"II+\0\x08\0\0\0\x10" + bytes(7)):
        assert not formats._in_first_directory(content, 322)


def tiff_with_tile(side: int) -> bytes:
    """64 × 64 grey pixels in one deflated tile of side × side."""
    data = zlib.compress(bytes(64))
    tags = [
        *((256, 3, 64), (257, 3, 64), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)),
        *((322, 4, side), (323, 4, side), (324, 4, 8), (325, 4, len(data))),
    ]
    directory = b"".join(
        struct.pack("<HHI", tag, kind, 1)
        + struct.pack("<I" if kind == 4 else "<HH", *([value] if kind == 4 else [value, 0]))
        for tag, kind, value in tags
    )
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + directory
        + bytes(4)
    )


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


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "I;16", "F", "I", "keyed"])
def test_pictures_are_converted_in_tiles_as_they_would_be_whole(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.random.default_rng(3).integers(0, 256, (23, 37, 4), dtype=np.uint8)
    if mode in ("I;16", "F", "I"):
        kinds = {"I;16": np.uint16, "F": np.float32, "I": np.int32}
        image = Image.fromarray((samples[..., 0].astype(np.int64) * 250).astype(kinds[mode]))
    elif mode == "keyed":
        image = Image.fromarray(samples[..., :3])
        image.info["transparency"] = tuple(int(v) for v in samples[5, 5, :3])
    else:
        image = Image.fromarray(samples).convert("LA" if mode == "PA" else mode).convert(mode)
    whole = np.asarray(colour.to_rgb(image))
    for size in (7, 100):  # a tile narrower than the picture, and one of some rows
        monkeypatch.setattr(colour, "_TILE", size)
        assert np.array_equal(np.asarray(colour.to_rgb(image)), whole)
    assert whole.std() > 10


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


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Edges and texture at every scale, as a photograph has them."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), dtype=np.float64)
    for cells in (3, 9, 27, 81):
        coarse = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / cells**0.5
    scaled = 255 * (total - total.min()) / np.ptp(total)
    scaled[height // 3 : height // 2, width // 4 : width // 2] = (250, 240, 10)
    return Image.fromarray(scaled.astype(np.uint8))


def loaded_by_keras(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """What ``keras.utils.load_img(..., target_size=size, interpolation="bilinear")`` does, in Pillow's terms."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_a_jpeg_has_the_pixels_of_keras_exactly_below_six_times_the_size(options: dict[str, object]) -> None:
    content = encoded(photo(400, 533), "JPEG", **options)
    for size in ((224, 224), (89, 67)):
        assert np.array_equal(load_rgb(content, size), loaded_by_keras(content, size))
    grey = encoded(photo(400, 300).convert("L"), "JPEG")
    assert np.array_equal(load_rgb(grey, (224, 224)), loaded_by_keras(grey, (224, 224)))


@pytest.mark.parametrize("width", [1344, 2400, 3000])
def test_a_large_jpeg_has_the_pixels_of_keras_within_the_stated_tolerance(width: int) -> None:
    content = encoded(photo(width, width * 4 // 3), "JPEG", quality=90)
    off = np.abs(load_rgb(content, (224, 224)) - loaded_by_keras(content, (224, 224)))
    assert 0 < off.mean() <= 0.5 and off.max() <= 30


@pytest.mark.parametrize(
    ("stored", "target", "scaled"),
    [
        ((4000, 3000), (224, 224), (1000, 750)),
        ((3000, 4500), (112, 112), (375, 563)),
        ((1344, 2001), (224, 224), (672, 1001)),
        ((1342, 2001), (224, 224), (1342, 2001)),
        ((4000, 700), (224, 224), (4000, 700)),
        ((101, 101), (1, 1), (13, 13)),
    ],
)
def test_the_dct_scale(stored: tuple[int, int], target: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert scaled_size(stored, target) == scaled
    picture = decode_jpeg(encoded(Image.new("RGB", stored), "JPEG"), stored, target)
    assert picture is not None and picture.size == scaled


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_jpeg_is_turned_upright(orientation: int) -> None:
    stored = photo(1600, 1300)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, "JPEG", exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert upright is not None
    expected = np.asarray(upright.resize((180, 200), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(load_rgb(content, (200, 180)) - expected).mean() <= 0.7


def test_what_libjpeg_warns_of_is_left_to_pillow() -> None:
    content = encoded(photo(300, 200), "JPEG")
    assert decode_jpeg(content, (300, 200), (64, 64)) is not None
    middle = len(content) // 2
    assert decode_jpeg(content[:middle], (300, 200), (64, 64)) is None
    spoilt = content[:middle] + b"\xff\xd9" + content[middle + 2 :]
    assert decode_jpeg(spoilt, (300, 200), (64, 64)) is None


def test_real_photos_keep_their_pixels(shared_dir: Path) -> None:
    photos = [path.read_bytes() for path in sorted((shared_dir / "data/clothing").rglob("*.jpg"))[::25]]
    upright = [c for c in photos if not may_be_turned(c) and min(Image.open(io.BytesIO(c)).size) >= 384]
    assert len(upright) > 20
    for content in upright:
        assert np.array_equal(load_rgb(content, (224, 224)), loaded_by_keras(content, (224, 224)))
    scaled = [np.abs(load_rgb(c, (64, 64)) - loaded_by_keras(c, (64, 64))) for c in upright]
    assert max(off.mean() for off in scaled) <= 2
    assert np.mean([off.mean() for off in scaled]) <= 0.6
    assert max(off.max() for off in scaled) <= 30
