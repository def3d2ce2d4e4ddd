"""A perceptual hash: equal or nearly equal for a picture that was scaled, recompressed or retouched."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from vizrec_spark.errors import ImageRefused
from vizrec_spark.imaging.decode import load_rgb

_ANY = 2**62
_GREY = np.array([299, 587, 114], dtype=np.int64)  # luma weights of ITU-R BT.601, in thousandths


def difference_hash(content: bytes) -> int:
    """The difference hash of a picture: 64 bits, as a signed number.

    The picture is shrunk to 9 × 8 grey cells; a bit says whether a cell is brighter than its right neighbour
    (Krawetz, "Kind of like that", 2013). Of any size: what is hashed was judged when it came in.

    Raises: ImageRefused as `load_rgb`.
    """
    cells = load_rgb(content, (8, 9), max_pixels=_ANY).astype(np.int64) @ _GREY
    return int(np.packbits(cells[:, :-1] > cells[:, 1:]).view(">i8")[0])


def difference_hashes(contents: pa.BinaryArray) -> pa.Int64Array:
    """`difference_hash` of each, null where the bytes are no picture that can be decoded."""
    return pa.array([_hash_or_none(content.as_py()) for content in contents], pa.int64())


def _hash_or_none(content: bytes) -> int | None:
    try:
        return difference_hash(content)
    except ImageRefused:
        return None
