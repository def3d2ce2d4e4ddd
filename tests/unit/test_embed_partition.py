"""What a task makes of its Arrow batches, with a model that tells the colour of a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from vizrec_spark.embed import udf

JOB = udf._Job("model", "colour-1", "openvino", "float32", None, 10_000, (8, 8), 2)


class Colour:
    """Red and green of the first pixel; NaN where red is 7."""

    batch_size, input_size, dimension = 4, (8, 8), 2

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        self.batches.append(len(rgb))
        told = rgb[:, 0, 0, :2].astype(np.float32)
        told[told[:, 0] == 7] = np.nan
        return told


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Colour:
    colour = Colour()
    monkeypatch.setattr(udf, "_runtime", lambda _: colour)
    return colour


def plain(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), (red, red + 1, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def arrow(*rows: tuple[str, bytes | None]) -> pa.RecordBatch:
    names, contents = zip(*rows, strict=True)
    return pa.RecordBatch.from_pydict(
        {"sha256": list(names), "content": pa.array(list(contents), pa.binary())}
    )


def embedded(batches: Iterator[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in udf._embed_partition(JOB, batches) for row in batch.to_pylist()]


def test_every_picture_comes_out_once_with_its_own_vector_or_a_reason(model: Colour) -> None:
    batches = (
        arrow(*((f"s{red}", plain(red)) for red in range(start, start + 3)), (f"bad{start}", b"no picture"))
        for start in range(0, 15, 3)
    )
    rows = {row["sha256"]: row for row in embedded(batches)}
    assert len(rows) == 20
    for red in range(15):
        row = rows[f"s{red}"]
        assert row["encoder_id"] == "colour-1"
        if red == 7:
            assert (row["vector"], row["reason"]) == (None, "non_finite_vector") and row["message"]
        else:
            assert (row["vector"], row["reason"], row["message"]) == ([red, red + 1], None, None)
    assert {rows[f"bad{start}"]["reason"] for start in range(0, 15, 3)} == {"not_an_image"}
    # The model's batches go across those of Arrow.
    assert model.batches == [4, 4, 4, 3]


def test_a_partition_without_pictures_or_without_sound_ones(model: Colour) -> None:
    assert embedded(iter([])) == []
    (row,) = embedded(iter([arrow(("s", None))]))
    assert (row["vector"], row["reason"]) == (None, "empty_file")
    assert model.batches == []


def test_rows_go_back_in_batches_of_their_own(model: Colour) -> None:
    many = arrow(*((f"s{n}", plain(n % 200)) for n in range(600)))
    sizes = [batch.num_rows for batch in udf._embed_partition(JOB, iter([many]))]
    assert sizes == [256, 256, 88]
