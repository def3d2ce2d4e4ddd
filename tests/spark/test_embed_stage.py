"""Stage `embed` when some pictures cannot be encoded: the others are, and later runs are not stopped by them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.landing import picture
from vizrec_spark.config import load_config
from vizrec_spark.embed.stage import STAGE
from vizrec_spark.errors import EncoderError
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES, QUARANTINE

N = 12


def contexts(spark: SparkSession, folder: Path, *overrides: str) -> StageContext:
    config = load_config(
        None,
        [
            f"tables.root={folder / 'tables'}",
            f"embed.cache={folder / 'cache'}",
            "embed.encoder=keras.applications:MobileNet",
            "embed.weights=random:1",
            "embed.input_size=[32, 32]",
            "embed.options={alpha: 0.25}",
            *overrides,
        ],
    )
    store = TableStore(spark, config.tables, Stamp("run-1", STAGE.name, config.fingerprint()))
    return StageContext(spark, config, store, "run-1")


def test_a_picture_that_never_encodes_stops_no_later_run(spark: SparkSession, tmp_path: Path) -> None:
    pictures = [picture(n) for n in range(N - 1)] + [b"not a picture"]
    seen = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        (f"i{n}", f"{n}.jpg", hashlib.sha256(c).hexdigest(), 24, 24, "JPEG", len(c), seen, c)
        for n, c in enumerate(pictures)
    ]
    rows.append(("twin", "twin.jpg", *rows[-1][2:]))  # another item with the same broken bytes
    strict = contexts(spark, tmp_path, "embed.max_failed_share=0.01")
    strict.tables.overwrite(IMAGES, spark.createDataFrame(rows, IMAGES.schema))
    with pytest.raises(
        EncoderError, match=r"1 of 12 pictures could not be encoded .*max_failed_share \(0\.01\)"
    ):
        STAGE.run(strict)
    assert strict.tables.read(EMBEDDINGS).count() == 0
    usual = contexts(spark, tmp_path, "embed.max_failed_share=0.1")
    for encoded in (N - 1, 0):
        result = STAGE.run(usual)
        assert result.written[0].changed == encoded
        refused = usual.tables.read(QUARANTINE).orderBy("key").collect()
        assert [(row.stage, row.key, row.record) for row in refused] == [
            ("embed", f"i{N - 1}", f"{N - 1}.jpg"),
            ("embed", "twin", "twin.jpg"),
        ]
        assert usual.tables.read(EMBEDDINGS).count() == N - 1
