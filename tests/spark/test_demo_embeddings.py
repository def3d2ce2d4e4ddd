"""The stage that draws vectors in place of pictures: every item has one, and likeness follows the catalogue."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession

from vizrec_spark.config import load_config
from vizrec_spark.demo import generate_catalogue
from vizrec_spark.demo.embeddings import ENCODER, drawn_embeddings
from vizrec_spark.imaging import inspect_image
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES, ITEMS

N, DIM = 1500, 64


@pytest.fixture(scope="module")
def drawn(context: StageContext) -> StageResult:
    """What the stage said when it ran for the first time."""
    return drawn_embeddings(N, seed=3, dim=DIM).run(context)


@pytest.fixture(scope="module")
def context(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> StageContext:
    folder = tmp_path_factory.mktemp("drawn")
    config = load_config(None, [f"tables.root={folder}", f"embed.encoder={ENCODER}"])
    made = StageContext(spark, config, TableStore(spark, config.tables, Stamp("r", "embed", "0" * 16)), "r")
    ids = generate_catalogue(N, seed=3).item_id[:-1].tolist()  # the last one did not pass stage `ingest`
    made.tables.overwrite(
        ITEMS, spark.createDataFrame([(i, None, [], None, None, {}) for i in ids], ITEMS.schema)
    )
    return made


def test_vectors_of_one_kind_lie_near_one_another(context: StageContext, drawn: StageResult) -> None:
    assert [(w.table, w.rows) for w in drawn.written] == [
        ("images", N - 1),
        ("embeddings", N - 1),
        ("encoders", 1),
    ]
    encoder = current_encoder(context.tables, context.config.embed)
    images = context.tables.read(IMAGES).select("item_id", "sha256")
    found = (
        context.tables.read(EMBEDDINGS).where(f"encoder_id = '{encoder}'").join(images, "sha256").toPandas()
    )
    found = found.sort_values("item_id")
    vectors = np.stack(found["vector"].to_numpy())
    assert vectors.shape == (N - 1, DIM)
    unit = vectors - vectors.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    catalogue = generate_catalogue(N, seed=3)
    assert found["item_id"].tolist() == catalogue.item_id[:-1].tolist()
    kind = catalogue.kind[:-1]
    same = (kind[cosine.argmax(axis=1)] == kind).mean()
    chance = (kind[:, None] == kind[None, :]).mean()
    assert same > 0.9 > 5 * chance


def test_a_repeated_run_changes_no_vector(context: StageContext, drawn: StageResult) -> None:
    before = sorted(map(tuple, context.tables.read(IMAGES).select("item_id", "sha256").collect()))
    assert drawn.written[1].changed == len(before)
    assert drawn_embeddings(N, seed=3, dim=DIM).run(context).written[1].changed == 0
    assert sorted(map(tuple, context.tables.read(IMAGES).select("item_id", "sha256").collect())) == before


def test_each_item_has_a_swatch_of_its_own(context: StageContext, drawn: StageResult) -> None:
    rows = context.tables.read(IMAGES).collect()
    assert len({row.sha256 for row in rows}) == len(rows) == N - 1
    assert (rows[0].format, rows[0].width) == ("PNG", inspect_image(bytes(rows[0].content)).width)
