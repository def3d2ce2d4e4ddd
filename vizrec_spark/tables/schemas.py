"""The contracts of all tables, in the order in which the pipeline writes them."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
)

from vizrec_spark.tables.contract import Table, column

STRING, INT, LONG, FLOAT, DOUBLE = StringType(), IntegerType(), LongType(), FloatType(), DoubleType()
VECTOR = ArrayType(FLOAT)
# Spark orders NaN above infinity, so the upper bound refuses both.
_AMOUNT = "{0} >= 0 AND {0} < double('infinity')"

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
        "price_not_negative": "price IS NULL OR " + _AMOUNT.format("price"),
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
        "weight_not_negative": _AMOUNT.format("weight"),
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
    ("stage", "source", "reason", "record"),
    {"reason_is_code": "reason rlike '^[a-z][a-z0-9_]*$'"},
    partition_by=("stage",),
)

ENCODERS = Table(
    "encoders",
    "embed",
    "Encoders that have been used: what the configuration called them, and the id of what that was.",
    StructType(
        [
            column(
                "config_key",
                STRING,
                "Encoder, weights, layer, input size, preprocessing and options as JSON.",
            ),
            column("encoder_id", STRING, "Hash of weights, architecture, preprocessing and precision."),
            column("dimension", INT, "Length of its vectors."),
        ]
    ),
    ("config_key",),
    {"dimension_positive": "dimension > 0"},
)

EMBEDDINGS = Table(
    "embeddings",
    "embed",
    "Feature vectors, addressed by content: the same picture under the same encoder is encoded once, ever.",
    StructType(
        [
            column("sha256", STRING, "SHA-256 of the picture's bytes."),
            column("encoder_id", STRING, "Hash of weights, architecture, preprocessing and precision."),
            column("vector", VECTOR, "Features as the encoder gave them, not normalised; all finite."),
        ]
    ),
    ("sha256", "encoder_id"),
    {"sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'", "vector_not_empty": "size(vector) > 0"},
    partition_by=("encoder_id",),
)

ITEM_NEIGHBORS = Table(
    "item_neighbors",
    "similar",
    "Look-alikes: the items nearest to each item that has a picture.",
    StructType(
        [
            column("encoder_id", STRING, "The encoder whose vectors were compared."),
            column("item_id", STRING, "The item asked about."),
            column("rank", INT, "1 for the nearest."),
            column("neighbor_id", STRING, "The look-alike; never the item itself."),
            column("cosine", FLOAT, "Cosine of the two vectors, -1 to 1; 0 where one of them is zero."),
            column("distance", FLOAT, "Euclidean distance of the two vectors, at least 0."),
        ]
    ),
    ("encoder_id", "item_id", "rank"),
    {
        "rank_from_one": "rank >= 1",
        "not_itself": "item_id <> neighbor_id",
        "cosine_range": "cosine BETWEEN -1.0001 AND 1.0001",
        "distance_range": _AMOUNT.format("distance"),
    },
    partition_by=("encoder_id",),
)

SIMILARITY_QUALITY = Table(
    "similarity_quality",
    "similar",
    "How good the look-alikes of each encoder are: one row for the published run.",
    StructType(
        [
            column("encoder_id", STRING, "The encoder whose vectors were compared."),
            column("method", STRING, "`exact` or `lsh`."),
            column("n_items", LONG, "Items compared."),
            column("k", INT, "Neighbours asked for."),
            column(
                "recall",
                DOUBLE,
                "Share of the exact k nearest that were found, on a sample of items (0 to 1).",
            ),
            column("recall_lo", DOUBLE, "Lower end of its 95 % interval."),
            column("recall_hi", DOUBLE, "Upper end of its 95 % interval."),
            column("n_queries", INT, "Size of that sample."),
            column("candidates_per_item", DOUBLE, "Mean number of vectors that an item was compared with."),
            column("max_bucket_share", DOUBLE, "Largest LSH bucket as a share of all items; 1 for `exact`."),
            column("n_split_buckets", LONG, "Buckets above the cap, which were split."),
            column(
                "mean_cosine",
                DOUBLE,
                "Mean cosine of two different items, at least 0; 0 for fewer than three items.",
            ),
        ]
    ),
    ("encoder_id",),
    {"recall_share": "0 <= recall_lo AND recall_lo <= recall AND recall <= recall_hi AND recall_hi <= 1"},
    partition_by=("encoder_id",),
)

ID_MAP = Table(
    "id_map",
    "als",
    "Integers that MLlib needs for string ids. Append-only: an id keeps its number for ever.",
    StructType(
        [
            column("kind", STRING, "`user` or `item`."),
            column("id", STRING, "The user_id or item_id."),
            column("index", INT, "Its number: 0, 1, 2, ... within the kind."),
        ]
    ),
    ("kind", "id"),
    {"index_from_zero": "index >= 0", "kind_known": "kind IN ('user', 'item')"},
    partition_by=("kind",),
)

_MODEL_ID = column(
    "model_id", STRING, "Fingerprint of the training set-up and data; equal in both factor tables."
)

USER_FACTORS = Table(
    "user_factors",
    "als",
    "Taste of each user with interactions, in the space of the ALS model.",
    StructType(
        [_MODEL_ID, column("user_id", STRING, "The user."), column("factors", VECTOR, "`rank` numbers.")]
    ),
    ("user_id",),
    {"factors_not_empty": "size(factors) > 0"},
)

ITEM_FACTORS = Table(
    "item_factors",
    "als",
    "Each item with interactions, in the space of the ALS model.",
    StructType(
        [_MODEL_ID, column("item_id", STRING, "The item."), column("factors", VECTOR, "`rank` numbers.")]
    ),
    ("item_id",),
    {"factors_not_empty": "size(factors) > 0"},
)

RECOMMENDATIONS = Table(
    "recommendations",
    "recommend",
    "What to offer to each user, best first, with the reason.",
    StructType(
        [
            column("user_id", STRING, "The user."),
            column("rank", INT, "1 for the best."),
            column("item_id", STRING, "The item to offer; the user has no interaction with it."),
            column("score", DOUBLE, "Weighted sum of the parts; comparable within one user's list."),
            column("score_cf", DOUBLE, "What collaborative filtering adds to the score (weight included)."),
            column(
                "score_visual", DOUBLE, "What the looks of the user's recent items add (weight included)."
            ),
            column("score_popularity", DOUBLE, "What popularity adds (weight included)."),
            column("source", STRING, "The part that adds most: `als`, `visual` or `popularity`."),
            column(
                "because_item_id", STRING, "The item in the user's history that caused it.", nullable=True
            ),
            column("reason", STRING, "A sentence for the user."),
            column("model_id", STRING, "The ALS model used.", nullable=True),
            column("encoder_id", STRING, "The encoder used.", nullable=True),
        ]
    ),
    ("user_id", "rank"),
    {
        "rank_from_one": "rank >= 1",
        "parts_add_up": "abs(score - (score_cf + score_visual + score_popularity)) < 1e-6",
        "source_known": "source IN ('als', 'visual', 'popularity')",
    },
)

ALL_TABLES = (
    ITEMS,
    USERS,
    IMAGES,
    INTERACTIONS,
    QUARANTINE,
    ENCODERS,
    EMBEDDINGS,
    ITEM_NEIGHBORS,
    SIMILARITY_QUALITY,
    ID_MAP,
    USER_FACTORS,
    ITEM_FACTORS,
    RECOMMENDATIONS,
)
