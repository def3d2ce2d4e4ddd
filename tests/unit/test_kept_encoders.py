"""Encoders that the tables keep, as the service takes them: by name, without Spark."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fine_tuning import SIDE, encoder_file, patterned
from tests.serving import write_table
from vizrec_spark.app.shelf import PlainShelf
from vizrec_spark.config import Config, load_config, setting
from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.embed.resolve import published_runtime
from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.adapted import Adapted, Dense, Head, Projection, adapted_id, to_bytes, tuned_id
from vizrec_spark.kernels.keras_import import import_keras
from vizrec_spark.tables import schemas as S

WHEN = datetime(2025, 6, 1, tzinfo=UTC)


def learned() -> Adapted:
    """What stands behind the tiny encoder's 8 numbers: two labels, vectors of 3."""
    random = np.random.default_rng(4)
    arrays = [random.normal(size=shape).astype(np.float32) for shape in ((8, 2), (2,), (8,), (8, 3))]
    head = Head((Dense(arrays[0], arrays[1]),), "relu")
    return Adapted("binary", ("bag", "hat"), (head,), 1.5, Projection(arrays[2], arrays[3], 0.5))


class Shop:
    """Tables with a fine-tuned encoder in three pieces and a version behind it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.cache = folder / "tables", folder / "cache"
        self.file = encoder_file(folder / "tiny.keras")
        self.model = import_keras().saving.load_model(self.file, compile=False, safe_mode=True)
        self.base = tuned_id("tiny-000000000000", "shop", self.model.get_weights())
        content = self.file.read_bytes()
        third = len(content) // 3 + 1
        pieces = [content[start : start + third] for start in range(0, len(content), third)]
        self.put_pieces(pieces[::-1])
        self.tuned: dict[str, Any] = {
            "encoder_id": self.base,
            "made_from": "0" * 64,
            "name": "shop",
            "base_encoder_id": "tiny-000000000000",
            "input_height": SIDE,
            "input_width": SIDE,
            "dimension": 8,
            "classes": ["bag", "hat"],
            "blocks": ["block3"],
            "precision": "float32",
            "epochs": 1,
            "loss_before": 1.0,
            "loss_after": 0.5,
            "settings": "{}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "created_at": WHEN,
        }
        write_table(self.root, S.FINE_TUNED_ENCODERS, [self.tuned])
        weights = to_bytes(learned())
        digest = hashlib.sha256(weights).hexdigest()
        self.encoder_id = adapted_id(self.base, "shop", digest)
        base = EmbedConfig(encoder=f"fine_tuned:{self.base}", precision="float32")
        version = {
            "name": "shop",
            "version": 1,
            "encoder_id": self.encoder_id,
            "base_encoder_id": self.base,
            "base_config": base.model_dump_json(),
            "dimension": 5,
            "classes": ["bag", "hat"],
            "kind": "binary",
            "settings": "{}",
            "metrics": {},
            "data_versions": {},
            "sha256": digest,
            "weights": weights,
            "created_at": WHEN,
        }
        write_table(self.root, S.ADAPTED_ENCODERS, [version | {"encoder_id": "other", "version": 2}])
        write_table(self.root, S.ADAPTED_ENCODERS, [version], "append")

    def put_pieces(self, pieces: list[bytes]) -> None:
        """The file, its last piece first."""
        last = len(pieces) - 1
        rows = [
            {"encoder_id": self.base, "piece": last - at, "content": content}
            for at, content in enumerate(pieces)
        ]
        write_table(self.root, S.ENCODER_FILES, [*rows, {"encoder_id": "x", "piece": 0, "content": b"?"}])

    def config(self, encoder: str) -> Config:
        pairs = [setting("tables.root", str(self.root)), setting("embed.cache", str(self.cache))]
        return load_config(None, [*pairs, setting("embed.encoder", encoder), "embed.runtime=tensorflow"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("kept"))


def test_a_picture_goes_through_the_fine_tuned_base_and_what_was_learned_behind_it(shop: Shop) -> None:
    config = shop.config("adapted:shop")
    runtime = published_runtime(config.embed, shop.encoder_id, 1, PlainShelf(config.tables))
    assert (runtime.input_size, runtime.dimension) == ((SIDE, SIDE), 5)
    pixels = patterned(3)[None]
    features = np.asarray(shop.model(pixels.astype(np.float32)))
    np.testing.assert_allclose(runtime.encode(pixels), learned().apply(features)[0], atol=1e-3)
    assert (shop.cache / f"{shop.base}.keras").read_bytes() == shop.file.read_bytes()
    alone = shop.config(f"fine_tuned:{shop.base}")
    plain = published_runtime(alone.embed, shop.base, 1, PlainShelf(alone.tables))
    np.testing.assert_allclose(plain.encode(pixels), features, atol=1e-5)


def test_a_copy_that_was_changed_is_fetched_anew_and_a_changed_table_is_refused(shop: Shop) -> None:
    config = shop.config(f"fine_tuned:{shop.base}")
    kept = shop.cache / f"{shop.base}.keras"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(b"something else")
    published_runtime(config.embed, shop.base, 1, PlainShelf(config.tables))
    assert kept.read_bytes() == shop.file.read_bytes()
    shutil.rmtree(shop.cache)
    whole = shop.file.read_bytes()
    shop.put_pieces([whole[1:]])
    with pytest.raises(EncoderError, match=r"SHA-256 differs\) and was not loaded"):
        published_runtime(config.embed, shop.base, 1, PlainShelf(config.tables))
    assert not list(shop.cache.iterdir())
    shop.put_pieces([whole])


@pytest.mark.parametrize(
    ("encoder", "encoder_id", "message"),
    [
        ("fine_tuned:nobody-1", "nobody-1", "table fine_tuned_encoders has no nobody-1"),
        ("adapted:shop", "shop-1", "the registry has no adapted encoder shop-1"),
    ],
)
def test_what_is_not_there_is_said(shop: Shop, encoder: str, encoder_id: str, message: str) -> None:
    config = shop.config(encoder)
    with pytest.raises(EncoderError, match=message):
        published_runtime(config.embed, encoder_id, 1, PlainShelf(config.tables))


def test_tables_that_were_never_made_have_nothing(tmp_path: Path) -> None:
    shelf = PlainShelf(load_config(None, [setting("tables.root", str(tmp_path))]).tables)
    assert shelf.adapted("x") is None and shelf.fine_tuned("x") is None and list(shelf.pieces("x")) == []


def test_an_id_is_of_the_weights_and_of_what_they_were(shop: Shop) -> None:
    weights = shop.model.get_weights()
    assert shop.base == tuned_id("tiny-000000000000", "shop", weights)
    assert shop.base.startswith("shop_tuned-") and len(shop.base) == len("shop_tuned-") + 12
    assert shop.base != tuned_id("tiny-000000000001", "shop", weights)
    weights[0] = weights[0] + 1e-3
    assert shop.base != tuned_id("tiny-000000000000", "shop", weights)
