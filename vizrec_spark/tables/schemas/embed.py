"""Contracts of what stage `embed` writes."""

from __future__ import annotations

from pyspark.sql.types import StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import INT, STRING, VECTOR

ENCODERS = Table(
    "encoders",
    "embed",
    "Encoders that have been used: what the configuration called them, and the id of what that was.",
    StructType(
        [
            column(
                "config_key",
                STRING,
                "Encoder, weights, layer, input size, preprocessing, options and, where set, precision as JSON.",
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

ENCODING_FAILURES = Table(
    "encoding_failures",
    "embed",
    "Pictures that an encoder could not encode, addressed by content, so that they are not tried again by every run.",
    StructType(
        [
            column("sha256", STRING, "SHA-256 of the picture's bytes."),
            column("encoder_id", STRING, "Hash of weights, architecture, preprocessing and precision."),
            column("reason", STRING, "Reason code; docs/tables.md lists them."),
            column("message", STRING, "What is wrong, for a person."),
        ]
    ),
    ("sha256", "encoder_id"),
    {"sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'", "reason_is_code": "reason rlike '^[a-z][a-z0-9_]*$'"},
)
