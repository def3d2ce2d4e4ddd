"""Contracts of what stage `ingest` writes."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, BinaryType, MapType, StructType, TimestampType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import AMOUNT, DOUBLE, INT, LONG, STRING

ITEMS = Table(
    "items",
    "ingest",
    "The catalogue: one row an item.",
    StructType(
        [
            column("item_id", STRING, "Identifier of the item, as the shop knows it."),
            column("title", STRING, "Name to show to people.", nullable=True),
            column("categories", ArrayType(STRING), "Categories; empty where none is known."),
            column("price", DOUBLE, "Price in the catalogue's currency, at least 0.", nullable=True),
            column(
                "added_at", TimestampType(), "When the item came into the catalogue (UTC).", nullable=True
            ),
            column(
                "attributes", MapType(STRING, STRING), "Further catalogue columns named in the configuration."
            ),
        ]
    ),
    ("item_id",),
    {
        "item_id_not_empty": "length(item_id) > 0",
        "price_not_negative": "price IS NULL OR " + AMOUNT.format("price"),
    },
)

USERS = Table(
    "users",
    "ingest",
    "Everyone who must get recommendations: the users of accepted interactions and of the optional users file.",
    StructType([column("user_id", STRING, "Identifier of the user, as the shop knows it.")]),
    ("user_id",),
    {"user_id_not_empty": "length(user_id) > 0"},
)

SEGMENTS = Table(
    "segments",
    "ingest",
    "The groups that the users file puts users in; the table is there once `ingest.users.segment` names a column.",
    StructType(
        [
            column("user_id", STRING, "Identifier of the user, as the shop knows it."),
            column("segment", STRING, "The group, as the file names it: a country, an age band, ..."),
        ]
    ),
    ("user_id",),
    {"user_id_not_empty": "length(user_id) > 0", "segment_not_empty": "length(segment) > 0"},
)

IMAGES = Table(
    "images",
    "ingest",
    "Accepted pictures with their bytes: one row for each picture of an item.",
    StructType(
        [
            column("item_id", STRING, "The item that the picture shows."),
            column("path", STRING, "Path of the file below the configured image folder."),
            column("sha256", STRING, "SHA-256 of the file's bytes, 64 hex digits; names the content."),
            column("width", INT, "Width in pixels as viewers show it (EXIF orientation applied)."),
            column("height", INT, "Height in pixels as viewers show it (EXIF orientation applied)."),
            column("format", STRING, "File format as found in the bytes: JPEG, PNG, WEBP, GIF, BMP or TIFF."),
            column("bytes", LONG, "Size of the file in bytes."),
            column("modified", TimestampType(), "Modification time of the file when it was read (UTC)."),
            column("content", BinaryType(), "The file itself, compressed as it came."),
        ]
    ),
    ("item_id", "path"),
    {
        "sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'",
        "has_pixels": "width > 0 AND height > 0",
        "has_bytes": "bytes > 0",
    },
)

INTERACTIONS = Table(
    "interactions",
    "ingest",
    "What people did: one row an event or a rating.",
    StructType(
        [
            column("user_id", STRING, "Who."),
            column("item_id", STRING, "With which item; it stands in `items`."),
            column(
                "event", STRING, "Type of the event, for instance view or buy; `rating` for a bare rating."
            ),
            column("rating", DOUBLE, "The explicit rating on the shop's scale.", nullable=True),
            column(
                "weight",
                DOUBLE,
                "How much it says that the user likes the item: the weight of its type, 0 for a low rating.",
            ),
            column("timestamp", TimestampType(), "When it happened (UTC)."),
        ]
    ),
    ("user_id", "item_id", "event", "timestamp"),
    {
        "weight_not_negative": AMOUNT.format("weight"),
        "rating_finite": "rating IS NULL OR (NOT isnan(rating) AND abs(rating) < 1e9)",
    },
)

QUARANTINE = Table(
    "quarantine",
    "ingest",
    "Every input that was refused, and why; each stage replaces its own rows.",
    StructType(
        [
            column("stage", STRING, "The stage that refused it."),
            column("source", STRING, "The input it came from: catalogue, users, interactions or images."),
            column("reason", STRING, "Reason code; docs/tables.md lists them."),
            column("message", STRING, "What is wrong and what to do, for a person."),
            column("key", STRING, "Identifier of the record as far as it could be read.", nullable=True),
            column("record", STRING, "The raw record as JSON, or the path of the file."),
        ]
    ),
    (),  # the same record may be refused more than once
    {"reason_is_code": "reason rlike '^[a-z][a-z0-9_]*$'"},
    partition_by=("stage",),
)
