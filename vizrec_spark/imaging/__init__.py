"""Hostile bytes in, checked pictures out: the only place that decodes images."""

from __future__ import annotations

from vizrec_spark.imaging.decode import DEFAULT_MAX_PIXELS, ImageInfo, inspect_image, load_rgb
from vizrec_spark.imaging.formats import REASONS
from vizrec_spark.imaging.perceptual import difference_hash, difference_hashes
from vizrec_spark.imaging.thumbnail import Thumbnail, thumbnail

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "REASONS",
    "ImageInfo",
    "Thumbnail",
    "difference_hash",
    "difference_hashes",
    "inspect_image",
    "load_rgb",
    "thumbnail",
]
