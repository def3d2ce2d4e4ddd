"""Encoding in Spark's Python workers: the same vectors, one load a worker, no row lost."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.embed.build import BuiltEncoder, build_encoder
from vizrec_spark.embed.encoder import EncoderSpec
from vizrec_spark.embed.failures import quarantine_rows
from vizrec_spark.embed.select import contents, missing_keys
from vizrec_spark.embed.udf import embed_images, ship_model, task_threads
from vizrec_spark.imaging import load_rgb
from vizrec_spark.kernels.keras_import import import_keras

BROKEN = {"empty": b"", "text": b"not a picture", "png": b"\x89PNG\r\n\x1a\n"}


def picture(seed: int) -> bytes:
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((50, 40), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    contents = [picture(seed) for seed in range(23)]
    return {hashlib.sha256(content).hexdigest(): content for content in contents}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> BuiltEncoder:
    spec = EncoderSpec(
        "keras.applications:MobileNet", weights="random:3", input_size=(32, 40), options={"alpha": 0.25}
    )
    return build_encoder(spec, tmp_path_factory.mktemp("encoders"))


def frame(spark: SparkSession, contents: dict[str, bytes], partitions: int) -> DataFrame:
    rows = [(key, bytearray(content)) for key, content in contents.items()]
    return spark.createDataFrame(rows, "sha256 string, content binary").repartition(partitions)


def test_vectors_are_those_of_keras_and_bad_bytes_become_rows(
    spark: SparkSession, pictures: dict[str, bytes], encoder: BuiltEncoder
) -> None:
    name = ship_model(spark, encoder.path)
    got = embed_images(
        frame(spark, pictures | BROKEN, 3),
        name,
        encoder.encoder_id,
        batch_size=4,
        input_size=encoder.input_size,
    )
    assert got.schema.simpleString() == (
        "struct<sha256:string,encoder_id:string,vector:array<float>,reason:string,message:string>"
    )
    rows = {row.sha256: row for row in got.collect()}
    assert rows.keys() == pictures.keys() | BROKEN.keys()
    assert {row.encoder_id for row in rows.values()} == {encoder.encoder_id}
    reasons = {key: rows[key].reason for key in BROKEN}
    assert reasons == {"empty": "empty_file", "text": "not_an_image", "png": "truncated"}
    assert all(rows[key].vector is None and rows[key].message for key in BROKEN)
    assert all(rows[key].reason is None and rows[key].message is None for key in pictures)

    pixels = np.stack([load_rgb(content, encoder.input_size) for content in pictures.values()])
    model = import_keras().saving.load_model(encoder.path, compile=False)
    wanted = np.asarray(model(pixels.astype(np.float32), training=False))
    vectors = np.array([rows[key].vector for key in pictures], dtype=np.float32)
    np.testing.assert_allclose(vectors, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert np.linalg.norm(wanted[0] - wanted[1]) > 0.01 * np.linalg.norm(wanted[0])


def test_the_model_is_loaded_once_a_worker(
    spark: SparkSession, pictures: dict[str, bytes], encoder: BuiltEncoder
) -> None:
    """Sixteen tasks in two worker slots: the workers themselves are asked how often they loaded a model.

    Workers outlive a test, so what they had loaded before is taken off.
    """
    before = {row.pid: row.loads for row in ask_workers(spark)}
    name = ship_model(spark, encoder.path)
    for _ in range(2):
        embedded = embed_images(
            frame(spark, pictures, 8), name, encoder.encoder_id, batch_size=5, input_size=encoder.input_size
        )
        assert embedded.where("vector is not null").count() == len(pictures)

    held = [row for row in ask_workers(spark) if row.held == encoder.encoder_id]
    assert 1 <= len(held) <= 2
    assert os.getpid() not in {row.pid for row in held}
    assert all(row.loads - before.get(row.pid, 0) == 1 for row in held)


def ask_workers(spark: SparkSession) -> list[Row]:
    """What each Python worker says of itself: pid, loads (since it started), held (encoder ids)."""

    def ask(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        from vizrec_spark.embed.runtime import _loaded, load_count

        for _ in frames:
            keys = [key for key, _ in _loaded]
            yield pd.DataFrame({"pid": [os.getpid()], "loads": [load_count()], "held": [",".join(keys)]})

    asked = spark.range(0, 8, 1, 8).mapInPandas(ask, "pid long, loads long, held string")
    return asked.distinct().collect()


def test_vectors_that_are_not_finite_put_their_pictures_into_quarantine(
    spark: SparkSession, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    """Colours averaged, times 3e38: black stays 0, whatever else there is overflows."""
    keras = import_keras()
    inputs = keras.Input((8, 8, 3))
    scaled = keras.layers.Rescaling(3e38)(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, scaled).save(tmp_path / "huge.keras")
    black = io.BytesIO()
    Image.new("RGB", (9, 9)).save(black, "PNG")
    some = dict(list(pictures.items())[:2]) | {"black": black.getvalue()}
    got = embed_images(
        frame(spark, some, 1), str(tmp_path / "huge.keras"), "huge-1", batch_size=8, input_size=(8, 8)
    )
    rows = got.collect()
    reasons = {row.sha256: (row.vector, row.reason) for row in rows}
    assert reasons.pop("black") == ([0.0, 0.0, 0.0], None)
    assert set(reasons.values()) == {(None, "non_finite_vector")}

    failed = [(row.sha256, row.reason, row.message) for row in rows if row.reason is not None]
    failures = spark.createDataFrame(failed, "sha256 string, reason string, message string")
    shown = [(key, f"i{n}", f"{n}.jpg") for n, key in enumerate(some)]
    images = spark.createDataFrame(shown, "sha256 string, item_id string, path string")
    refused = quarantine_rows(failures, images).orderBy("key").collect()
    told = [(row.stage, row.source, row.reason, row.key, row.record) for row in refused]
    assert told == [("embed", "images", "non_finite_vector", f"i{n}", f"{n}.jpg") for n in range(2)]
    assert all(row.message for row in refused)


def test_a_wrong_input_size_fails_the_job(
    spark: SparkSession, pictures: dict[str, bytes], encoder: BuiltEncoder
) -> None:
    got = embed_images(
        frame(spark, pictures, 1), str(encoder.path), encoder.encoder_id, batch_size=4, input_size=(64, 64)
    )
    with pytest.raises(Exception, match="takes pictures of"):
        got.collect()


def missing_images(
    images: DataFrame,
    embeddings: DataFrame,
    encoder_id: str,
    *,
    num_partitions: int,
    broadcast_keys: bool = False,
) -> DataFrame:
    keys = missing_keys(images, embeddings, encoder_id)
    return contents(images, keys, num_partitions=num_partitions, broadcast_keys=broadcast_keys)


def test_only_what_is_missing_is_selected_and_the_same_bytes_once(spark: SparkSession) -> None:
    images = spark.createDataFrame(
        [("i1", "a", "x"), ("i1", "b", "y"), ("i2", "c", "x"), ("i3", "d", "z"), ("i4", "e", "x")],
        "item_id string, path string, sha256 string",
    ).withColumn("content", F.concat_ws("-", "item_id", "path", "sha256").cast("binary"))
    embeddings = spark.createDataFrame(
        [("z", "enc-1", [1.0]), ("x", "enc-2", [1.0])],
        "sha256 string, encoder_id string, vector array<float>",
    )
    for broadcast in (False, True):
        got = missing_images(images, embeddings, "enc-1", num_partitions=3, broadcast_keys=broadcast)
        assert got.rdd.getNumPartitions() == 3
        assert sorted(got.collect()) == [("x", bytearray(b"i1-a-x")), ("y", bytearray(b"i1-b-y"))]
    everything = missing_images(images, embeddings, "enc-3", num_partitions=1)
    assert sorted(row.sha256 for row in everything.collect()) == ["x", "y", "z"]
    assert missing_images(images, embeddings, "enc-1", num_partitions=1).columns == ["sha256", "content"]


def test_contents_are_not_shuffled_to_find_what_is_missing(spark: SparkSession, tmp_path: Path) -> None:
    """With broadcast keys the only exchange that carries `content` is the last one, which spreads the work."""
    row = [("i1", "a", "x", bytearray(b"1"))]
    columns = "item_id string, path string, sha256 string, content binary"
    spark.createDataFrame(row, columns).write.parquet(str(tmp_path / "images"))
    images = spark.read.parquet(str(tmp_path / "images"))
    embeddings = spark.createDataFrame([], "sha256 string, encoder_id string, vector array<float>")
    got = missing_images(images, embeddings, "e", num_partitions=2, broadcast_keys=True)
    plan = got._jdf.queryExecution().executedPlan().toString()
    exchanges = [line for line in plan.splitlines() if "Exchange hashpartitioning" in line]
    assert "REPARTITION_BY_NUM" in exchanges[0]
    assert len(exchanges) >= 2
    scans = [line for line in plan.splitlines() if "FileScan" in line]
    assert sum("content" in line.split("ReadSchema")[1] for line in scans) == 1


def test_threads_are_what_spark_grants_a_task(spark: SparkSession) -> None:
    assert task_threads(spark) == 1
