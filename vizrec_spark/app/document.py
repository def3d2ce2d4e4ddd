"""Prints docs/tables.md as the contracts have it: ``python -m vizrec_spark.app.document``."""

from __future__ import annotations

from vizrec_spark.tables.document import tables_page
from vizrec_spark.tables.reasons import REASONS
from vizrec_spark.tables.schemas import ALL_TABLES


def page() -> str:
    """The text of docs/tables.md."""
    return tables_page(ALL_TABLES, REASONS)


if __name__ == "__main__":
    print(page(), end="")
