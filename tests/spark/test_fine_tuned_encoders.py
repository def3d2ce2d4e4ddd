"""Fine-tuned encoders in the tables: one file an id, whatever it is registered with, and what it has learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.embed.kept import fetched
from vizrec_spark.tables import Stamp, TableStore, fine_tuned
from vizrec_spark.tables.fine_tuned import Made, SparkShelf, learned_from, made_from, register_file
from vizrec_spark.tables.schemas import ENCODER_FILES, FINE_TUNED_ENCODERS

MADE = Made(
    "shop_tuned-1", "0" * 64, "shop", "tiny-1", (16, 16), 8, ("a", "b"), ("block3",), "float32", 2, 1.0, 0.5, "{}"
)  # fmt: skip


def pictures(*names: str, part: str = "train") -> pa.Table:
    return pa.table({"sha256": [name * 64 for name in names], "part": [part] * len(names)})


def test_an_encoder_that_is_registered_twice_is_loaded_anywhere(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = TableStore(spark, TablesConfig(root=str(tmp_path / "tables")), Stamp("run-1", "adapt", "f"))
    monkeypatch.setattr(fine_tuned, "_PIECE", 4)
    file = tmp_path / "encoder.keras"
    # A run that is killed before the row leaves more pieces than the file of the next one has.
    file.write_bytes(b"left by a kill")
    with monkeypatch.context() as patch:
        patch.setattr(TableStore, "insert_missing", _killed)
        with pytest.raises(KeyboardInterrupt):
            register_file(tables, spark, MADE, file, pictures("1"))
    file.write_bytes(b"first")
    register_file(tables, spark, MADE, file, pictures("1", "2"))
    # Other settings, the same weights: another time in the file.
    file.write_bytes(b"second")
    other = replace(MADE, made_from="1" * 64)
    register_file(tables, spark, other, file, pictures("2", "3", part="validation"))
    for number, fingerprint in enumerate((MADE.made_from, other.made_from)):
        known = made_from(tables, fingerprint)
        assert known is not None and known.encoder_id == MADE.encoder_id
        built = fetched(SparkShelf(tables), known.encoder_id, tmp_path / f"cache{number}")
        assert built.path.read_bytes() == b"first"
    assert (tables.read(ENCODER_FILES).count(), tables.read(FINE_TUNED_ENCODERS).count()) == (2, 2)
    table = learned_from(tables, "fine_tuned:shop_tuned-1")
    assert table.schema == pictures("1").schema
    learned = table.sort_by("sha256").to_pylist()
    assert [(row["sha256"][0], row["part"]) for row in learned] == [
        ("1", "train"),
        ("2", "train"),
        ("3", "validation"),
    ]
    assert len(learned_from(tables, "fine_tuned:other-1")) == len(learned_from(tables, "tiny.keras")) == 0


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
