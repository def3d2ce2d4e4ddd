"""docs/tables.md says what the contracts say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql.types import LongType, StringType, StructType

from vizrec_spark.app.document import page
from vizrec_spark.imaging import REASONS as IMAGE_REASONS
from vizrec_spark.tables import Table, column
from vizrec_spark.tables.document import tables_page
from vizrec_spark.tables.reasons import BY_CODE, REASONS, Reason
from vizrec_spark.tables.schemas import ALL_TABLES


def test_the_committed_page_is_current(repository: Path) -> None:
    committed = (repository / "docs" / "tables.md").read_text(encoding="utf-8")
    assert committed == page(), "run `make docs`"


def test_a_page_tells_everything_about_a_table() -> None:
    table = Table(
        "parcels",
        "ingest",
        "What is on its way.",
        StructType(
            [
                column("id", StringType(), "Number on the label: a|b."),
                column("weight", LongType(), "In grams.", nullable=True),
            ]
        ),
        ("id",),
        {"some_weight": "weight > 0"},
        partition_by=("weight",),
        version=3,
    )
    reason = Reason("too_heavy", ("parcels", "letters"), "Above the limit.", "Split it.")
    lines = tables_page([table], [reason]).splitlines()
    assert "| [parcels](#parcels) | `ingest` | What is on its way. |" in lines
    assert "- Key: `id`" in lines
    assert "- Partitioned by: `weight`" in lines
    assert "- Constraint `some_weight`: `weight > 0`" in lines
    assert "- Contract version: 3" in lines
    assert r"| `id` | `string` |  | Number on the label: a\|b. |" in lines
    assert "| `weight` | `bigint` | yes | In grams. |" in lines
    assert "| `too_heavy` | parcels, letters | Above the limit. | Split it. |" in lines


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_contracts_are_well_formed(table: Table) -> None:
    assert len(set(table.columns)) == len(table.columns)
    assert table.key or table.name == "quarantine"  # the same record may be refused twice
    assert set(table.key) <= set(table.columns)
    assert set(table.partition_by) <= set(table.columns)
    for field in table.schema.fields:
        assert field.metadata["comment"].endswith("."), (
            f"{table.name}.{field.name} has no sentence as its comment"
        )


def test_every_reason_of_the_decoder_is_explained() -> None:
    assert set(IMAGE_REASONS) <= set(BY_CODE)
    assert len(BY_CODE) == len(REASONS)
    assert all("images" in BY_CODE[code].sources for code in IMAGE_REASONS)
