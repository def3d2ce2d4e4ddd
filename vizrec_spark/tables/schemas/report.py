"""Contract of what stage `report` writes beside its page."""

from __future__ import annotations

from pyspark.sql.types import BinaryType, StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import INT, STRING

THUMBNAILS = Table(
    "thumbnails",
    "report",
    "Pictures that a report has shown, made small once, addressed by content.",
    StructType(
        [
            column("sha256", STRING, "SHA-256 of the picture's bytes."),
            column("size", INT, "Most pixels of the longer side, as asked for."),
            column(
                "jpeg",
                BinaryType(),
                "The small picture as a JPEG file.",
            ),
            column("width", INT, "Its width in pixels."),
            column("height", INT, "Its height in pixels."),
        ]
    ),
    ("sha256", "size"),
    {
        "sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'",
        "size_positive": "size > 0",
        "sides_positive": "width > 0 AND height > 0",
    },
)
