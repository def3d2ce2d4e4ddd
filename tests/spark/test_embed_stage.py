"""Stage `embed`: failures, interrupted runs, encoders side by side, and their removal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests.landing import picture
from vizrec_spark.config import load_config
from vizrec_spark.embed import commit
from vizrec_spark.embed.choice import Machine
from vizrec_spark.embed.cleanup import encoders_in_use, remove_other_encoders
from vizrec_spark.embed.fingerprint import at_precision
from vizrec_spark.embed.resolve import ready_encoder
from vizrec_spark.embed.stage import STAGE
from vizrec_spark.errors import EncoderError, TableError
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, IMAGES, QUARANTINE

N = 12


def contexts(spark: SparkSession, folder: Path, *overrides: str) -> StageContext:
    config = load_config(
        None,
        [
            f"tables.root={folder / 'tables'}",
            f"embed.cache={folder.parent / 'encoders'}",
            "embed.encoder=keras.applications:MobileNet",
            "embed.weights=random:1",
            "embed.input_size=[32, 32]",
            "embed.options={alpha: 0.25}",
            *overrides,
        ],
    )
    store = TableStore(spark, config.tables, Stamp("run-1", STAGE.name, config.fingerprint()))
    return StageContext(spark, config, store, "run-1")


def image_rows(contents: list[bytes]) -> list[tuple[Any, ...]]:
    """A row of `images` for each of `contents`, items i0, i1, ..."""
    seen = datetime(2024, 1, 1, tzinfo=UTC)
    return [
        (f"i{n}", f"{n}.jpg", hashlib.sha256(c).hexdigest(), 24, 24, "JPEG", len(c), seen, c)
        for n, c in enumerate(contents)
    ]


def test_a_picture_that_never_encodes_is_tried_once_and_stops_no_later_run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = image_rows([picture(n) for n in range(N - 1)] + [b"not a picture"])
    rows.append(("twin", "twin.jpg", *rows[-1][2:]))  # another item with the same broken bytes
    strict = contexts(spark, tmp_path, "embed.max_failed_share=0.01")
    strict.tables.overwrite(IMAGES, spark.createDataFrame(rows, IMAGES.schema))

    def refused() -> list[tuple[str, str, str]]:
        found = strict.tables.read(QUARANTINE).orderBy("key").collect()
        return [(row.stage, row.key, row.record) for row in found]

    both = [("embed", f"i{N - 1}", f"{N - 1}.jpg"), ("embed", "twin", "twin.jpg")]
    with pytest.raises(
        EncoderError,
        match=r"1 of the 12 pictures of the shop .*not_an_image 1.*max_failed_share \(0\.01\).*was not published",
    ):
        STAGE.run(strict)
    assert strict.tables.read(EMBEDDINGS).count() == 0
    assert refused() == both
    usual = contexts(spark, tmp_path, "embed.max_failed_share=0.1")
    assert STAGE.run(usual).written[0].changed == N - 1
    assert refused() == both
    with monkeypatch.context() as patch:
        patch.setattr(commit, "embed_images", lambda *_, **__: pytest.fail("tried again"))
        changed = {written.table: written.changed for written in STAGE.run(usual).written}
    assert (changed["embeddings"], changed["encoders"], changed["encoding_failures"]) == (0, 0, 0)
    assert refused() == both
    anew = contexts(spark, tmp_path, "embed.max_failed_share=0.01", "embed.reembed=true")
    with pytest.raises(EncoderError, match="stays published with the vectors that it has"):
        STAGE.run(anew)
    assert usual.tables.read(EMBEDDINGS).count() == N - 1


def test_a_first_run_that_was_stopped_is_gone_on_with_in_its_precision(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors in bfloat16 and no row in `encoders`: a machine that would choose float32 by itself does not."""
    context = contexts(spark, tmp_path)
    able = Machine(openvino=False, onnxruntime=False, cpu_bfloat16=True, gpu=False)
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls, conf=None: able))
    first = ready_encoder(context)
    assert first.choice.precision == "float32"
    half = at_precision(first.encoder_id, "bfloat16", "tensorflow")
    context.tables.upsert(EMBEDDINGS, spark.createDataFrame([("0" * 64, half, [1.0])], EMBEDDINGS.schema))
    second = ready_encoder(context)
    assert (second.encoder_id, second.choice.precision) == (half, "bfloat16")


def test_a_crash_keeps_the_chunks_that_were_done(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = contexts(
        spark, tmp_path, "embed.chunk=7", "embed.runtime=tensorflow", "embed.precision=float32"
    )
    frame = spark.createDataFrame(image_rows([picture(n) for n in range(N)]), IMAGES.schema)
    context.tables.overwrite(IMAGES, frame.where("item_id < 'i5'").coalesce(1))
    context.tables.insert_missing(IMAGES, frame.coalesce(1))
    whole = commit.ChunkWriter._commit
    calls: list[object] = []

    def crashing(writer: commit.ChunkWriter, *arguments: Any) -> Any:
        calls.append(arguments[0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(writer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(commit.ChunkWriter, "_commit", crashing)
        with pytest.raises(KeyboardInterrupt):
            STAGE.run(context)
    kept = {row.sha256 for row in context.tables.read(EMBEDDINGS).collect()}
    assert 0 < len(kept) < N
    assert current_encoder(context.tables, context.config.embed) is None  # not published
    result = STAGE.run(context)
    assert result.written[0].changed == N - len(kept)
    assert context.tables.read(EMBEDDINGS).select("sha256").distinct().count() == N
    assert context.tables.read(EMBEDDINGS).count() == N
    assert current_encoder(context.tables, context.config.embed) is not None


def test_each_picture_is_encoded_once_whatever_is_written_meanwhile(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chunks with a failure in each, and a run that replaces `images` after the first is committed; and anew."""
    half = [picture(n) for n in range(4)] + [b"not a picture"]
    other = [picture(n) for n in range(4, 8)] + [b"no picture either"]
    frame = spark.createDataFrame(image_rows(half + other), IMAGES.schema)
    encode, whole = commit.embed_images, commit.ChunkWriter._commit
    monkeypatch.setattr(commit.ChunkWriter, "_stop_at_many_failures", lambda _: None)

    def run(context: StageContext, counted: Path) -> None:
        context.tables.overwrite(IMAGES, frame.where("item_id < 'i5'").coalesce(1))
        context.tables.insert_missing(IMAGES, frame.coalesce(1))
        chunks = []

        def counting(pictures: DataFrame, *arguments: Any, **options: Any) -> DataFrame:
            def noted(batches: Iterator[Any]) -> Iterator[Any]:
                for batch in batches:
                    with counted.open("a") as stream:
                        stream.writelines(f"{name}\n" for name in batch.column("sha256").to_pylist())
                    yield batch

            return encode(pictures.mapInArrow(noted, pictures.schema), *arguments, **options)

        def committed(writer: commit.ChunkWriter, *arguments: Any) -> Any:
            written = whole(writer, *arguments)
            chunks.append(written.changed)
            if len(chunks) == 1:
                context.tables.overwrite(IMAGES, context.tables.read(IMAGES).withColumn("width", F.lit(25)))
            return written

        monkeypatch.setattr(commit, "embed_images", counting)
        monkeypatch.setattr(commit.ChunkWriter, "_commit", committed)
        assert STAGE.run(context).written[0].changed == 8
        assert chunks == [4, 4]
        names = counted.read_text().split()
        assert len(names) == len(set(names)) == 10
        assert context.tables.read(QUARANTINE).where("stage = 'embed'").count() == 2

    run(contexts(spark, tmp_path, "embed.chunk=5"), tmp_path / "first")
    run(contexts(spark, tmp_path, "embed.chunk=5", "embed.reembed=true"), tmp_path / "anew")


def test_pictures_that_get_lost_publish_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = contexts(spark, tmp_path)
    context.tables.overwrite(
        IMAGES, spark.createDataFrame(image_rows([picture(n) for n in range(3)]), IMAGES.schema)
    )
    whole = commit.contents
    monkeypatch.setattr(commit, "contents", lambda *a, **k: whole(*a, **k).limit(2))
    with pytest.raises(TableError, match="3 pictures waited and 2 came out"):
        STAGE.run(context)
    assert current_encoder(context.tables, context.config.embed) is None


def test_encoders_side_by_side_anew_and_removed(spark: SparkSession, tmp_path: Path) -> None:
    one = contexts(spark, tmp_path, "embed.runtime=tensorflow", "embed.precision=float32")
    rows = image_rows([picture(n) for n in range(4)])
    rows.append(("twin", "twin.jpg", *rows[0][2:]))
    one.tables.overwrite(IMAGES, spark.createDataFrame(rows, IMAGES.schema))
    with pytest.raises(EncoderError, match="would leave none"):
        remove_other_encoders(one)
    assert STAGE.run(one).written[0].changed == 4  # the same bytes under two items once
    two = contexts(
        spark, tmp_path, "embed.runtime=tensorflow", "embed.precision=float32", "embed.weights=random:2"
    )
    assert STAGE.run(two).written[0].changed == 4
    first, second = (str(current_encoder(c.tables, c.config.embed)) for c in (one, two))
    assert first != second
    held = {row.encoder_id: row.vectors for row in encoders_in_use(one.tables).collect()}
    assert held == {first: 4, second: 4}

    # What is there is right, so encoding anew changes nothing but replaces what was spoilt.
    before = vectors(one, first)
    spoilt = one.tables.read(EMBEDDINGS).where(f"encoder_id = '{first}'").limit(1)
    one.tables.upsert(
        EMBEDDINGS, spoilt.withColumn("vector", F.transform("vector", lambda _: F.lit(7.0).cast("float")))
    )
    assert vectors(one, first) != before
    anew = contexts(
        spark, tmp_path, "embed.runtime=tensorflow", "embed.precision=float32", "embed.reembed=true"
    )
    assert STAGE.run(anew).written[0].changed == 4
    assert vectors(one, first) == before

    changed = {written.table: written.changed for written in remove_other_encoders(two)}
    assert changed == {"encoders": 1, "embeddings": 4, "encoding_failures": 0, "image_labels": 0}
    assert {row.encoder_id for row in two.tables.read(EMBEDDINGS).collect()} == {second}
    assert {row.encoder_id for row in two.tables.read(ENCODERS).collect()} == {second}
    assert [written.changed for written in remove_other_encoders(two)] == [0, 0, 0, 0]


def vectors(context: StageContext, encoder_id: str) -> dict[str, list[float]]:
    rows = context.tables.read(EMBEDDINGS).where(F.col("encoder_id") == encoder_id).collect()
    return {row.sha256: row.vector for row in rows}


def test_auto_goes_on_in_its_first_precision_and_a_picture_that_was_replaced_is_encoded_once(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = contexts(spark, tmp_path)
    frame = spark.createDataFrame(image_rows([picture(n) for n in range(3)]), IMAGES.schema)
    context.tables.overwrite(IMAGES, frame.where("item_id < 'i2'").coalesce(1))
    # The replaced row stands in its data file still, marked as deleted.
    later = frame.where("item_id = 'i1'").withColumn("modified", F.lit(datetime(2025, 1, 1, tzinfo=UTC)))
    context.tables.upsert(IMAGES, later)
    plain = Machine(openvino=False, onnxruntime=False, cpu_bfloat16=False, gpu=False)
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls, conf=None: plain))
    assert STAGE.run(context).written[0].changed == 2
    assert context.tables.read(EMBEDDINGS).count() == 2
    began = current_encoder(context.tables, context.config.embed)
    monkeypatch.undo()
    context.tables.overwrite(IMAGES, frame)
    assert STAGE.run(context).written[0].changed == 1
    assert current_encoder(context.tables, context.config.embed) == began
    assert context.tables.read(EMBEDDINGS).select("encoder_id").distinct().count() == 1


def test_only_the_data_files_that_hold_new_pictures_are_read(spark: SparkSession, tmp_path: Path) -> None:
    context = contexts(spark, tmp_path / "a [b] c")
    frame = spark.createDataFrame(image_rows([picture(n) for n in range(4)]), IMAGES.schema)
    context.tables.overwrite(IMAGES, frame.where("item_id < 'i2'").coalesce(1))
    context.tables.insert_missing(IMAGES, frame.coalesce(1))
    images = context.tables.read(IMAGES).withColumn("file", F.col("_metadata.file_path"))
    (file,) = {row.file for row in images.where("item_id = 'i3'").collect()}
    some = context.tables.read_files(IMAGES, [file])
    assert {row.item_id for row in some.collect()} == {"i2", "i3"}
    assert _files_read(some) == 1


def _files_read(frame: Any) -> int:
    """`numFiles` of the only scan in the plan that ran."""
    waiting, found = [frame._jdf.queryExecution().executedPlan()], []
    while waiting:
        plan = waiting.pop()
        if plan.metrics().contains("numFiles"):
            found.append(int(plan.metrics().get("numFiles").get().value()))
        children = plan.children()
        waiting += [children.apply(i) for i in range(children.size())]
    (only,) = found
    return only
