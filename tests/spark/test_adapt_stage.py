"""Stage `adapt` and the registry: learned, judged, promoted, used by `embed`, and rolled back."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.landing import picture
from vizrec_spark.app.adapting import STAGE as ADAPT
from vizrec_spark.app.encoders import _print_versions
from vizrec_spark.config import load_config
from vizrec_spark.embed.stage import STAGE as EMBED
from vizrec_spark.errors import ConfigError, EncoderError, LabelError, TableError
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.encoders import current_encoder, encoder_key
from vizrec_spark.tables.registry import (
    Origin,
    Registered,
    promote,
    register,
    registered,
    roll_back,
    serving,
)
from vizrec_spark.tables.schemas import (
    ADAPTATION_METRICS,
    ADAPTATION_MISTAKES,
    ADAPTED_ENCODERS,
    CONFUSIONS,
    EMBEDDINGS,
    ENCODER_PROMOTIONS,
    ENCODERS,
    IMAGE_LABELS,
    IMAGES,
    ITEMS,
    LABELLED_PICTURES,
)

N, D = 96, 24
LABELS = ("bag", "hat", "shoe")
BASE = ["embed.encoder=keras.applications:MobileNet", "embed.weights=random:1", "embed.precision=float32"]


class Shop:
    """Items with a label and a picture each, and vectors as some base encoder would have made them."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        base = self.context(*BASE)
        self.tables, self.base = base.tables, "e1"
        contents = [picture(n) for n in range(N)]
        contents[3] = contents[0]  # one picture of two items
        names = [hashlib.sha256(content).hexdigest() for content in contents]
        seen = datetime(2024, 1, 1, tzinfo=UTC)
        self.items = [(f"i{n:02}", None, [LABELS[n % 3]], None, None, {}) for n in range(N)]
        self.tables.overwrite(ITEMS, spark.createDataFrame(self.items, ITEMS.schema))
        rows = [
            (f"i{n:02}", f"{n}.jpg", name, 24, 24, "JPEG", len(content), seen, content)
            for n, (name, content) in enumerate(zip(names, contents, strict=True))
        ]
        self.tables.overwrite(IMAGES, spark.createDataFrame(rows, IMAGES.schema))
        random = np.random.default_rng(0)
        signal = random.normal(size=(3, D))[np.arange(N) % 3] * 0.5
        noise = random.normal(size=(N, 2)) @ random.normal(size=(2, D))
        vectors = np.logaddexp(0, signal + noise + 0.2 * random.normal(size=(N, D)))
        self.names = sorted(set(names))
        self.vectors = dict(zip(names, vectors.tolist(), strict=True))
        embedded = [(name, self.base, vector) for name, vector in self.vectors.items()]
        self.tables.overwrite(EMBEDDINGS, spark.createDataFrame(embedded, EMBEDDINGS.schema))
        row = (encoder_key(base.config.embed), self.base, D)
        self.tables.overwrite(ENCODERS, spark.createDataFrame([row], ENCODERS.schema))

    def context(self, *overrides: str) -> StageContext:
        config = load_config(
            None,
            [
                f"tables.root={self.folder / 'tables'}",
                "adapt.name=shop",
                "adapt.k=3",
                "adapt.head={layers: [8], members: 1, epochs: 6}",
                "adapt.replicates=100",
                *overrides,
            ],
        )
        store = TableStore(self.spark, config.tables, Stamp("run-1", "adapt", config.fingerprint()))
        return StageContext(self.spark, config, store, "run-1")


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(spark, tmp_path_factory.mktemp("adapt"))


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            ["adapt.labels.label=nonsense"],
            ConfigError,
            "cannot be read as SQL over the columns of table items",
        ),
        (
            ["adapt.labels.label=size(categories)"],
            ConfigError,
            "is int; expected a text or an array of texts",
        ),
        (
            ["adapt.labels.part=if(item_id = 'i05', 'test', null)"],
            LabelError,
            "names a part for 1 of 94 labelled pictures",
        ),
    ],
)
def test_labels_that_cannot_be_used(
    shop: Shop, overrides: list[str], error: type[Exception], message: str
) -> None:
    # The picture of two items has the labels of both, which kind multi_class would refuse.
    where = "adapt.labels.label=if(item_id in ('i00', 'i03'), null, categories[0])"
    first = [where] if not overrides[0].startswith("adapt.labels.label") else []
    with pytest.raises(error, match=message):
        ADAPT.run(shop.context(*BASE, "adapt.name=refused", *first, *overrides))


def test_stage_adapt_starts_from_a_plain_encoder(shop: Shop) -> None:
    assert ADAPT.check is not None and EMBED.check is not None
    with pytest.raises(ConfigError, match="starts from a plain encoder's vectors"):
        ADAPT.check(shop.context("embed.encoder=adapted:shop").config)
    with pytest.raises(ConfigError, match=r"is an \.onnx file, whose weights stay as they are"):
        ADAPT.check(shop.context("embed.encoder=some.onnx", "adapt.depth=fine_tune").config)
    ADAPT.check(shop.context("embed.encoder=some.onnx").config)
    EMBED.check(shop.context("embed.encoder=adapted:shop@canary").config)
    with pytest.raises(EncoderError, match="expected adapted:<name>"):
        EMBED.check(shop.context("embed.encoder='adapted:'").config)


@pytest.fixture(scope="module")
def first(shop: Shop) -> Registered:
    """The first version, learned and promoted."""
    with pytest.raises(
        EncoderError, match="no version of the adapted encoder shop is promoted to production"
    ):
        serving(shop.tables, "adapted:shop")
    result = ADAPT.run(shop.context(*BASE))
    assert any("promoted" in note for note in result.notes), result.notes
    assert result.metrics["version"] == result.metrics["passed_gate"] == 1
    return serving(shop.tables, "adapted:shop")


def test_what_a_run_leaves_in_the_tables(shop: Shop, first: Registered) -> None:
    tables = shop.tables
    assert (first.version, first.base_encoder_id, first.classes) == (1, "e1", LABELS)
    mine = F.col("encoder_id") == first.encoder_id
    metrics = {
        r.metric: r for r in tables.read(ADAPTATION_METRICS).where(mine & (F.col("label") == "")).collect()
    }
    assert metrics["accuracy"].value > 0.6 > 0.34  # a third by chance
    assert metrics["precision@3_gain"].lo > 0
    wrong = tables.read(CONFUSIONS).where(mine & (F.col("label") != F.col("predicted")))
    missed = wrong.agg(F.sum("pictures")).first()[0]
    assert missed == round((1 - metrics["accuracy"].value) * metrics["accuracy"].pictures)
    assert tables.read(ADAPTATION_MISTAKES).where(mine).count() == missed  # fewer than five a label
    row = tables.read(ADAPTED_ENCODERS).where(mine).first()
    assert row.metrics["accuracy"] == metrics["accuracy"].value
    assert set(row.data_versions) == {"items", "images", "embeddings", "labelled_pictures"}
    learned = tables.read_at(LABELLED_PICTURES, row.data_versions["labelled_pictures"])
    parts = {r.part: r["count"] for r in learned.groupBy("part").count().collect()}
    assert sum(parts.values()) == N - 1 and set(parts) == {"train", "validation", "test"}
    assert parts["test"] == metrics["accuracy"].pictures


def test_what_was_learned_before_keeps_its_version_and_no_number_is_given_twice(
    shop: Shop, first: Registered
) -> None:
    tables, spark = shop.tables, shop.spark
    before = [tables.version(table) for table in (ADAPTED_ENCODERS, ENCODER_PROMOTIONS, ADAPTATION_METRICS)]
    again = ADAPT.run(shop.context(*BASE))  # the same data: the same numbers
    assert again.metrics["version"] == 1
    assert before == [
        tables.version(table) for table in (ADAPTED_ENCODERS, ENCODER_PROMOTIONS, ADAPTATION_METRICS)
    ]
    origin = Origin("e1", first.base, "{}", {})
    with pytest.raises(TableError, match="has version 1 of shop already, of another run"):
        register(tables, spark, "shop", 1, first.adapted, origin, {})
    assert registered(tables, "shop", 1).encoder_id == first.encoder_id


def test_embed_gives_vectors_and_labels_and_what_serves_can_be_taken_back(
    shop: Shop, first: Registered, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables, spark = shop.tables, shop.spark
    # The base's own run is replaced: its vectors are there.
    encoded: list[str] = []

    def base_run(context: StageContext) -> StageResult:
        encoded.append(context.config.embed.encoder)
        return StageResult((), (), {"images_version": 7.0})

    monkeypatch.setattr("vizrec_spark.embed.stage.run_plain", base_run)
    use = shop.context("embed.encoder=adapted:shop")
    assert EMBED.run(use).metrics == {"images_version": 7.0, "adapted_vectors": N - 1}
    assert encoded == ["keras.applications:MobileNet"]
    assert current_encoder(tables, use.config.embed) == first.encoder_id
    mine = tables.read(EMBEDDINGS).where(F.col("encoder_id") == first.encoder_id).orderBy("sha256").collect()
    raw = np.array([shop.vectors[name] for name in shop.names], np.float32)
    vectors, probabilities = first.adapted.apply(raw)
    assert [r.sha256 for r in mine] == shop.names
    assert np.array([r.vector for r in mine]) == pytest.approx(vectors, abs=1e-5)
    labels = tables.read(IMAGE_LABELS).orderBy("sha256", "rank").collect()
    assert len(labels) == 3 * len(shop.names)
    assert [r.label for r in labels[:3]] == [LABELS[at] for at in np.argsort(-probabilities[0])]
    assert labels[0].given and not labels[1].given
    assert labels[0].probability == pytest.approx(probabilities[0].max(), abs=1e-5)
    # Only what is missing is made.
    gone = shop.names[0]
    tables.delete(EMBEDDINGS, (F.col("sha256") == gone) & (F.col("encoder_id") == first.encoder_id))
    changed = {w.table: w.changed for w in EMBED.run(use).written}
    assert (changed["embeddings"], changed["image_labels"], changed["encoders"]) == (1, 3, 0)

    # Another version: the vectors of the first serve until its own are whole.
    ADAPT.run(shop.context(*BASE, "adapt.seed=7", "adapt.gate.promote=false"))
    second = registered(tables, "shop", 2)
    assert second.encoder_id != first.encoder_id
    assert serving(tables, "adapted:shop").version == 1  # registered only
    promote(tables, spark, "shop", "production", 2, "by hand")
    _print_versions(tables)
    shown = [line.split("│") for line in capsys.readouterr().out.splitlines() if " shop " in line]
    assert [(line[2].strip(), line[-2].strip()) for line in shown] == [("1", ""), ("2", "production")]
    with monkeypatch.context() as patch:
        patch.setattr("vizrec_spark.embed.adapted._published", _stopped)
        with pytest.raises(KeyboardInterrupt):
            EMBED.run(use)
    assert current_encoder(tables, use.config.embed) == first.encoder_id
    EMBED.run(use)
    assert current_encoder(tables, use.config.embed) == second.encoder_id
    version, _ = roll_back(tables, spark, "shop", "production")
    assert version == 1 == serving(tables, "adapted:shop@production").version
    with pytest.raises(EncoderError, match=r"nothing to roll back to: 1 version\(s\)"):
        roll_back(tables, spark, "shop", "production")
    changed = {w.table: w.changed for w in EMBED.run(use).written}
    assert (changed["embeddings"], changed["encoders"]) == (0, 1)  # its vectors are still there
    assert tables.read(ENCODER_PROMOTIONS).count() == 3

    # The base encoder has become another one.
    moved = spark.createDataFrame([(encoder_key(shop.context(*BASE).config.embed), "e2", D)], ENCODERS.schema)
    tables.upsert(ENCODERS, moved)
    with pytest.raises(EncoderError, match=r"learned on vectors of e1, and the same settings now make e2"):
        EMBED.run(use)
    was = spark.createDataFrame([(encoder_key(shop.context(*BASE).config.embed), "e1", D)], ENCODERS.schema)
    tables.upsert(ENCODERS, was)

    # Weights that were changed in the table are not used.
    versions = spark.createDataFrame(tables.read(ADAPTED_ENCODERS).collect(), ADAPTED_ENCODERS.schema)
    tables.upsert(ADAPTED_ENCODERS, versions.withColumn("weights", F.lit(b"other")))
    with pytest.raises(EncoderError, match="not those that were registered"):
        EMBED.run(use)
    tables.upsert(ADAPTED_ENCODERS, versions)


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt
