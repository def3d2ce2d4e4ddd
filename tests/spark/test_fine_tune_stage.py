"""Stage `adapt` with depth fine_tune: pictures from the table, an encoder in it, and what `embed` and search take."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.fine_tuning import SIDE, features, patterned
from vizrec_spark.adapt.fine_tune.pixels import contents_of, spool_pixels
from vizrec_spark.app.adapting import STAGE as ADAPT
from vizrec_spark.app.shelf import PlainShelf
from vizrec_spark.config import load_config, setting
from vizrec_spark.config.models import AdaptConfig
from vizrec_spark.embed.resolve import published_runtime
from vizrec_spark.embed.stage import STAGE as EMBED
from vizrec_spark.errors import EncoderError
from vizrec_spark.imaging import load_rgb
from vizrec_spark.kernels.keras_import import import_keras
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.fine_tuned import SparkShelf
from vizrec_spark.tables.registry import Registered, serving
from vizrec_spark.tables.schemas import (
    ADAPTATION_METRICS,
    ADAPTATION_TRIALS,
    ADAPTED_ENCODERS,
    EMBEDDINGS,
    ENCODER_FILES,
    FINE_TUNED_ENCODERS,
    FINE_TUNED_PICTURES,
    IMAGE_LABELS,
    IMAGES,
    ITEMS,
    LABELLED_PICTURES,
)

N = 90
LABELS = ("checks", "columns", "rows")


def png(number: int) -> bytes:
    stream = BytesIO()
    Image.fromarray(patterned(number)).save(stream, "PNG")
    return stream.getvalue()


class Shop:
    """Items with a pattern each, their pictures, and a tiny encoder in a file."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.file = folder / "tiny.keras"
        features().save(self.file)
        self.tables = self.context().tables
        self.contents = {hashlib.sha256(content).hexdigest(): content for content in map(png, range(N))}
        items = [(f"i{n:02}", None, [LABELS[n % 3]], None, None, {}) for n in range(N)]
        self.tables.overwrite(ITEMS, spark.createDataFrame(items, ITEMS.schema))
        self.put(range(N))

    def put(self, numbers: range) -> None:
        """Adds the pictures of some numbers to table `images`."""
        seen = datetime(2024, 1, 1, tzinfo=UTC)
        rows = []
        for n in numbers:
            content = png(n)
            name = hashlib.sha256(content).hexdigest()
            rows.append((f"i{n:02}", f"{n}.png", name, SIDE, SIDE, "PNG", len(content), seen, content))
        self.tables.upsert(IMAGES, self.spark.createDataFrame(rows, IMAGES.schema))

    def context(self, *overrides: str) -> StageContext:
        config = load_config(
            None,
            [
                setting("tables.root", str(self.folder / "tables")),
                setting("embed.cache", str(self.folder / "encoders")),
                setting("embed.encoder", str(self.file)),
                "embed.preprocessing=tf",
                "embed.precision=float32",
                "adapt.name=shop",
                "adapt.depth=fine_tune",
                "adapt.k=3",
                "adapt.head={layers: [], members: 1, epochs: 6}",
                "adapt.replicates=100",
                "adapt.fine_tune={epochs: 4, batch_size: 8, learning_rate: 0.01, augment: {rotate: 0.0, zoom: 0.0}}",
                setting("adapt.fine_tune.checkpoint", str(self.folder / "checkpoint")),
                *overrides,
            ],
        )
        store = TableStore(self.spark, config.tables, Stamp("run-1", "adapt", config.fingerprint()))
        return StageContext(self.spark, config, store, "run-1")


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(spark, tmp_path_factory.mktemp("fine_tune"))
    EMBED.run(shop.context())
    return shop


@pytest.fixture(scope="module")
def first(shop: Shop) -> Registered:
    result = ADAPT.run(shop.context())
    assert any("fine-tuned in" in note for note in result.notes), result.notes
    assert any(note.startswith("promoted") for note in result.notes), result.notes
    return serving(shop.tables, "adapted:shop")


def test_pixels_are_those_that_embed_decodes(shop: Shop, tmp_path: Path) -> None:
    names = pa.array(sorted(shop.contents)[:7], pa.string())
    beside = pa.array([*names.to_pylist(), "f" * 64], pa.string())
    images = shop.tables.read(IMAGES)
    twice = images.unionByName(images.withColumn("item_id", F.lit("zz")))
    contents = contents_of(twice, names)
    assert sorted(row.sha256 for row in contents.collect()) == names.to_pylist()
    pixels, there = spool_pixels(
        contents, beside, (20, 24), max_pixels=10_000, threads=2, file=tmp_path / "pixels"
    )
    assert pixels.shape == (8, 20, 24, 3) and there.tolist() == [True] * 7 + [False]
    for at, name in enumerate(names.to_pylist()):
        np.testing.assert_array_equal(pixels[at], load_rgb(shop.contents[name], (20, 24)))
    refused = spool_pixels(contents, names, (20, 24), max_pixels=100, threads=1, file=tmp_path / "none")[1]
    assert not refused.any()


def test_a_version_stands_behind_the_fine_tuned_encoder(shop: Shop, first: Registered) -> None:
    row = shop.tables.read(FINE_TUNED_ENCODERS).first()
    assert first.base_encoder_id == row.encoder_id and first.base.encoder == f"fine_tuned:{row.encoder_id}"
    assert (row.blocks, row.classes) == (["block2", "block3"], list(LABELS))
    assert row.loss_after < row.loss_before
    pieces = shop.tables.read(ENCODER_FILES).orderBy("piece").collect()
    assert hashlib.sha256(b"".join(bytes(p.content) for p in pieces)).hexdigest() == row.sha256
    gain = shop.tables.read(ADAPTATION_METRICS).where("metric = 'precision@3_gain'").first()
    assert gain.lo > 0
    assert not list((shop.folder / "checkpoint").iterdir())  # what is in the tables needs no checkpoint


def test_the_same_is_not_trained_twice(
    shop: Shop, first: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_training(*_: object, **__: object) -> None:
        raise AssertionError("what is in the tables was trained again")

    monkeypatch.setattr("vizrec_spark.adapt.fine_tune.make.fine_tune", no_training)
    result = ADAPT.run(shop.context())
    assert result.metrics["version"] == 1
    assert any("was fine-tuned by an earlier run" in note for note in result.notes)
    with pytest.raises(AssertionError, match="trained again"):
        ADAPT.run(shop.context("adapt.fine_tune.blocks=1"))


def test_a_picture_that_cannot_be_decoded_any_more_is_left_out_and_told(
    shop: Shop, first: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (
        shop.tables.read(LABELLED_PICTURES).where("name = 'shop' AND part = 'test'").orderBy("sha256").first()
    )
    whole = shop.spark.createDataFrame(shop.tables.read(IMAGES).collect(), IMAGES.schema)
    broken = F.when(F.col("sha256") == kept.sha256, F.lit(b"no picture")).otherwise(F.col("content"))
    shop.tables.overwrite(IMAGES, whole.withColumn("content", broken))
    try:
        result = ADAPT.run(shop.context("adapt.gate.promote=false"))
    finally:
        shop.tables.overwrite(IMAGES, whole)
    assert "1 labelled pictures cannot be encoded any more and are left out" in result.notes
    [row] = shop.tables.read(LABELLED_PICTURES).where(F.col("sha256") == kept.sha256).collect()
    assert row.part == "left_out"


def test_a_search_keeps_its_trials_and_the_best_is_what_is_learned(
    shop: Shop, first: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = "fine_tune: {blocks: [2], learning_rate: {low: 0.005, high: 0.02}}, head: {widths: [0, 4]}"
    searched = ("adapt.name=searched", f"adapt.search={{trials: 2, {spans}}}", "adapt.gate.promote=false")
    result = ADAPT.run(shop.context(*searched))
    trials = shop.tables.read(ADAPTATION_TRIALS).orderBy("study_id", "trial").collect()
    assert [(row.study_id.split("-")[0], row.trial) for row in trials] == [
        *(("fine_tune", 0), ("fine_tune", 1)),
        *(("head", 0), ("head", 1)),
    ]
    assert trials[0].parameters["blocks"] == 2 and len(trials[0].epochs) == 4
    best = min((row for row in trials[:2] if not row.pruned), key=lambda row: row.value)
    tuned = shop.tables.read(FINE_TUNED_ENCODERS).where("name = 'searched'").collect()
    assert [row.loss_after for row in tuned] == [best.value]
    kept = shop.tables.read(ADAPTED_ENCODERS).where("name = 'searched'").first()
    settings = AdaptConfig.model_validate_json(kept.settings)
    assert settings.fine_tune.learning_rate == best.parameters["learning_rate"]
    least = min(trials[2:], key=lambda row: row.value)
    assert settings.head.layers == ((int(least.parameters["width"]),) if least.parameters["width"] else ())
    assert not list((shop.folder / "checkpoint").iterdir())

    # A finished study is taken as it is.
    def no_training(*_: object, **__: object) -> None:
        raise AssertionError("a finished trial was trained again")

    monkeypatch.setattr("vizrec_spark.adapt.fine_tune.make.fine_tune", no_training)
    monkeypatch.setattr("vizrec_spark.adapt.search.network_loss", no_training)
    again = ADAPT.run(shop.context(*searched))
    assert again.metrics["version"] == result.metrics["version"] == 1


def test_embed_and_search_take_it_by_name(shop: Shop, first: Registered) -> None:
    use = shop.context("embed.encoder=adapted:shop", "embed.preprocessing=auto")
    result = EMBED.run(use)
    assert (result.metrics["pictures"], result.metrics["adapted_vectors"]) == (N, N)
    assert current_encoder(shop.tables, use.config.embed) == first.encoder_id
    stored = {
        r.sha256: r.vector
        for r in shop.tables.read(EMBEDDINGS).where(F.col("encoder_id") == first.encoder_id).collect()
    }
    # By hand: the file that is kept, and what was learned behind it.
    kept = shop.folder / "by_hand.keras"
    kept.write_bytes(b"".join(SparkShelf(shop.tables).pieces(first.base_encoder_id)))
    model = import_keras().saving.load_model(kept, compile=False, safe_mode=True)
    name, content = next(iter(shop.contents.items()))
    pixels = load_rgb(content, (SIDE, SIDE))[None]
    vectors, probabilities = first.adapted.apply(np.asarray(model(pixels.astype(np.float32))))
    assert stored[name] == pytest.approx(vectors[0], abs=1e-3)
    best = shop.tables.read(IMAGE_LABELS).where((F.col("sha256") == name) & (F.col("rank") == 1)).first()
    assert best.label == LABELS[int(probabilities[0].argmax())]
    # The service and the command `look`, without Spark and with it.
    for shelf in (PlainShelf(use.config.tables), SparkShelf(shop.tables)):
        runtime = published_runtime(use.config.embed, first.encoder_id, 1, shelf)
        assert (runtime.input_size, runtime.dimension) == ((SIDE, SIDE), len(stored[name]))
        assert runtime.encode(pixels)[0] == pytest.approx(stored[name], abs=1e-3)
    # New pictures alone are encoded.
    shop.put(range(N, N + 2))
    result = EMBED.run(use)
    assert (result.metrics["pictures"], result.metrics["adapted_vectors"]) == (2, 2)


def test_a_file_that_was_changed_is_not_loaded(shop: Shop, first: Registered, tmp_path: Path) -> None:
    direct = shop.context(
        f"embed.encoder=fine_tuned:{first.base_encoder_id}",
        "embed.preprocessing=auto",
        setting("embed.cache", str(tmp_path)),
    )
    assert EMBED.check is not None
    EMBED.check(direct.config)
    whole = shop.spark.createDataFrame(shop.tables.read(ENCODER_FILES).collect(), ENCODER_FILES.schema)
    shop.tables.upsert(ENCODER_FILES, whole.withColumn("content", F.lit(b"other")))
    with pytest.raises(EncoderError, match=r"SHA-256 differs\) and was not loaded"):
        EMBED.run(direct)
    assert not list(tmp_path.iterdir())
    shop.tables.upsert(ENCODER_FILES, whole)
    with pytest.raises(EncoderError, match="fine_tuned_encoders has no shop_tuned-0"):
        EMBED.run(shop.context("embed.encoder=fine_tuned:shop_tuned-0", "embed.preprocessing=auto"))


def test_nothing_that_a_fine_tuned_base_has_learned_from_is_judged(shop: Shop, first: Registered) -> None:
    of_base = shop.tables.read(FINE_TUNED_PICTURES).where(F.col("encoder_id") == first.base_encoder_id)
    learned = {row.sha256 for row in of_base.collect()}
    assert learned
    direct = (f"embed.encoder=fine_tuned:{first.base_encoder_id}", "embed.preprocessing=auto")
    EMBED.run(shop.context(*direct))
    again = ("adapt.name=behind", "adapt.depth=head", "adapt.seed=5", "adapt.gate.promote=false")
    ADAPT.run(shop.context(*direct, *again))
    judged = shop.tables.read(LABELLED_PICTURES).where("name = 'behind' AND part = 'test'").collect()
    assert judged and not learned & {row.sha256 for row in judged}
