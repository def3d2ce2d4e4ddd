"""What decoding one picture takes, in bytes a pixel, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WIDTH, HEIGHT = 2000, 1500

_MEASURE = f"""
import gc, io
import numpy as np
from PIL import Image
from vizrec_spark.imaging import load_rgb

W, H = {WIDTH}, {HEIGHT}

def status(key):
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))

def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()

def key_palette():
    image = Image.new("P", (W, H), 1)
    image.putpalette([0, 0, 0, 0, 0, 255])
    return image

makers = dict(
    rgb=lambda: encoded(Image.new("RGB", (W, H)), "PNG"),
    sixteen=lambda: encoded(Image.fromarray(np.full((H, W), 32768, np.uint16)), "PNG"),
    floats=lambda: encoded(Image.fromarray(np.full((H, W), 0.5, np.float32)), "TIFF"),
    deep=lambda: encoded(Image.fromarray(np.full((H, W), 5000, np.int32)), "TIFF"),
    rgba=lambda: encoded(Image.new("RGBA", (W, H), (9, 9, 9, 90)), "PNG"),
    grey_alpha=lambda: encoded(Image.new("LA", (W, H), (9, 90)), "PNG"),
    palette_alpha=lambda: encoded(key_palette(), "PNG", transparency=1),
    colour_key=lambda: encoded(Image.new("RGB", (W, H), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
    cmyk=lambda: encoded(Image.new("CMYK", (W, H)), "JPEG"),
    progressive=lambda: encoded(Image.new("RGB", (W, H)), "JPEG", progressive=True, subsampling=0),
    webp=lambda: encoded(Image.new("RGBA", (W, H), (9, 9, 9, 90)), "WEBP", method=0, lossless=True),
)
load_rgb(encoded(Image.new("RGBA", (50, 50)), "PNG"), (8, 8))
for name, make in makers.items():
    content = make()
    gc.collect()
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # the peak starts anew from what is there now
    before = status("VmRSS")
    load_rgb(content, (500, 400))
    print(name, (status("VmHWM") - before) / (W * H))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads peak memory as Linux tells it")
def test_a_picture_takes_few_bytes_a_pixel_whatever_it_is_made_of() -> None:
    # Without it glibc keeps some of what was freed, and the next picture seems to take less.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True, env=env
    )
    taken = {name: float(value) for name, value in map(str.split, ran.stdout.splitlines())}
    megabytes = 3e6 / (WIDTH * HEIGHT)  # tiles, and the small picture
    assert len(taken) == 11 and taken["rgb"] > 3
    assert {name: n for name, n in taken.items() if n > (17 if name == "webp" else 10) + megabytes} == {}
