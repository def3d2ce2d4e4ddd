"""Contracts of what stage `adapt` writes, and of the labels that `embed` gives with what it learned."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    MapType,
    StructType,
    TimestampType,
)

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import DOUBLE, FLOAT, INT, LONG, STRING

_NAME = column("name", STRING, "The adapted encoder, as `adapt.name` calls it.")
_VERSION = column("version", INT, "1, 2, ... within the name.")
_ENCODER = column("encoder_id", STRING, "The version of an adapted encoder, see table adapted_encoders.")
_SHARE = "{0} BETWEEN 0 AND 1"

LABELLED_PICTURES = Table(
    "labelled_pictures",
    "adapt",
    "What an adapted encoder learns from and is judged on: distinct pictures, their labels and their part.",
    StructType(
        [
            _NAME,
            column("sha256", STRING, "SHA-256 of the picture's bytes."),
            column(
                "labels", ArrayType(STRING), "Its labels in order; several only where the task allows it."
            ),
            column(
                "part",
                STRING,
                "`train`, `validation` or `test`; `left_out`: nearly the same picture is in a later part, the encoder "
                "has learned from one, or it cannot be encoded any more.",
            ),
            column("group_id", STRING, "Least SHA-256 of the pictures that are nearly the same as this one."),
        ]
    ),
    ("name", "sha256"),
    {
        "sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'",
        "part_known": "part IN ('train', 'validation', 'test', 'left_out')",
    },
    partition_by=("name",),
)

ADAPTED_ENCODERS = Table(
    "adapted_encoders",
    "adapt",
    "The registry: every version of every adapted encoder, with all that is needed to run it. Append-only.",
    StructType(
        [
            _NAME,
            _VERSION,
            column(
                "encoder_id", STRING, "Hash of the base encoder's id and of all numbers that were learned."
            ),
            column("base_encoder_id", STRING, "The encoder whose vectors it starts from."),
            column("base_config", STRING, "Section `embed` that names that encoder, as JSON."),
            column("dimension", INT, "Length of its vectors."),
            column(
                "classes", ArrayType(STRING), "The labels that it knows, in the order of its probabilities."
            ),
            column("kind", STRING, "`binary`, `multi_class` or `multi_label`."),
            column("settings", STRING, "Section `adapt` that it was made with, as JSON."),
            column("metrics", MapType(STRING, DOUBLE), "What the test pictures said, by name of the metric."),
            column("data_versions", MapType(STRING, LONG), "Version of each table that it learned from."),
            column("sha256", STRING, "SHA-256 of `weights`."),
            column("weights", BinaryType(), "Plain arrays in numpy's npz format; nothing in it is code."),
            column("created_at", TimestampType(), "When it was made (UTC)."),
        ]
    ),
    ("name", "version"),
    {
        "version_from_one": "version >= 1",
        "dimension_positive": "dimension > 0",
        "kind_known": "kind IN ('binary', 'multi_class', 'multi_label')",
        "sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'",
    },
)

FINE_TUNED_ENCODERS = Table(
    "fine_tuned_encoders",
    "adapt",
    "Encoders whose last blocks have learned from labelled pictures; `embed.encoder` takes `fine_tuned:<encoder_id>`.",
    StructType(
        [
            column("encoder_id", STRING, "Hash of the id of the encoder that it was and of all weights."),
            column("made_from", STRING, "Fingerprint of pictures, labels, parts, settings and that encoder."),
            column("name", STRING, "The adapted encoder that it was made for, as `adapt.name` calls it."),
            column("base_encoder_id", STRING, "The encoder that it was, at float32."),
            column("input_height", INT, "Height of the pictures that it takes, in pixels."),
            column("input_width", INT, "Width of the pictures that it takes, in pixels."),
            column("dimension", INT, "Length of its vectors."),
            column("classes", ArrayType(STRING), "The labels that it has learned."),
            column("blocks", ArrayType(STRING), "The blocks that have learned."),
            column("precision", STRING, "In what it was computed meanwhile; the weights are float32."),
            column("epochs", INT, "Epochs of the best weights."),
            column("loss_before", DOUBLE, "Log-loss on the validation pictures before the first epoch."),
            column("loss_after", DOUBLE, "The same after the best epoch."),
            column("settings", STRING, "Section `adapt.fine_tune` that it was made with, as JSON."),
            column("sha256", STRING, "SHA-256 of its file, see table encoder_files."),
            column("created_at", TimestampType(), "When it was made (UTC)."),
        ]
    ),
    ("encoder_id", "made_from"),
    {
        "dimension_positive": "dimension > 0",
        "input_positive": "input_height > 0 AND input_width > 0",
        "epochs_from_one": "epochs >= 1",
        "sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'",
    },
)

FINE_TUNED_PICTURES = Table(
    "fine_tuned_pictures",
    "adapt",
    "What each fine-tuned encoder has learned from, its base included: no version behind it is judged on these.",
    StructType(
        [
            column("encoder_id", STRING, "The fine-tuned encoder, see table fine_tuned_encoders."),
            column("sha256", STRING, "SHA-256 of the picture's bytes."),
            column("part", STRING, "`train`: learned from; `validation`: its epochs were chosen on it."),
        ]
    ),
    ("encoder_id", "sha256"),
    {
        "sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'",
        "part_known": "part IN ('train', 'validation')",
    },
    partition_by=("encoder_id",),
)

ENCODER_FILES = Table(
    "encoder_files",
    "adapt",
    "The files of fine-tuned encoders in pieces: Keras 3 files (.keras) from pixels of 0..255, scaling included.",
    StructType(
        [
            column("encoder_id", STRING, "The fine-tuned encoder, see table fine_tuned_encoders."),
            column("piece", INT, "0, 1, 2, ... in the file."),
            column("content", BinaryType(), "The bytes of this piece."),
        ]
    ),
    ("encoder_id", "piece"),
    {"piece_from_zero": "piece >= 0"},
    partition_by=("encoder_id",),
)

ADAPTATION_TRIALS = Table(
    "adaptation_trials",
    "adapt",
    "What was tried for the head or the fine-tuning of an adapted encoder, and its loss on validation pictures.",
    StructType(
        [
            column("study_id", STRING, "Fingerprint of the pictures, the space and what is not searched."),
            column("trial", INT, "0, 1, 2, ... within the study."),
            column(
                "parameters",
                MapType(STRING, DOUBLE),
                "Settings of `adapt.head` or `adapt.fine_tune` by name; `width` is that of the head's only layer.",
            ),
            column("metric", STRING, "What was measured: log_loss."),
            column("value", DOUBLE, "Its least value on the validation pictures; smaller is better."),
            column("epochs", ArrayType(DOUBLE), "Fine-tuning: its value after each epoch."),
            column("pruned", BooleanType(), "Whether the trial was stopped early, as it promised little."),
        ]
    ),
    ("study_id", "trial"),
    {"trial_from_zero": "trial >= 0", "value_not_negative": "value >= 0 AND NOT isnan(value)"},
)

ENCODER_PROMOTIONS = Table(
    "encoder_promotions",
    "adapt",
    "Which version of an adapted encoder serves in a stage: the row with the largest number. Append-only.",
    StructType(
        [
            _NAME,
            column("stage", STRING, "Where it serves, for instance production."),
            column("number", INT, "1, 2, ... within name and stage."),
            column("version", INT, "The version that serves from now on."),
            column("reason", STRING, "Why, for a person: what the gate said, or that it was rolled back."),
        ]
    ),
    ("name", "stage", "number"),
    {"number_from_one": "number >= 1", "version_from_one": "version >= 1"},
)

ADAPTATION_METRICS = Table(
    "adaptation_metrics",
    "adapt",
    "How good each version of an adapted encoder is on its test pictures.",
    StructType(
        [
            _ENCODER,
            column("metric", STRING, "For instance accuracy, f1, expected_calibration_error, precision@10."),
            column("label", STRING, "The label that it is about; empty: all."),
            column("value", DOUBLE, "The figure, 0 to 1; differences -1 to 1."),
            column("lo", DOUBLE, "Lower end of its 95 % interval, where there is one.", nullable=True),
            column("hi", DOUBLE, "Upper end of that interval.", nullable=True),
            column("pictures", LONG, "Pictures that it was measured on."),
        ]
    ),
    ("encoder_id", "metric", "label"),
    {
        "value_share": "value BETWEEN -1 AND 1",
        "interval_in_order": "lo IS NULL OR (NOT isnan(hi) AND lo <= hi)",
        "pictures_positive": "pictures > 0",
    },
)

CONFUSIONS = Table(
    "confusions",
    "adapt",
    "Confusion matrix of each version of an adapted encoder: test pictures by true and by predicted label.",
    StructType(
        [
            _ENCODER,
            column("label", STRING, "The true label."),
            column(
                "predicted",
                STRING,
                "The label it was given; with several labels a picture, see docs/adaptation.md.",
            ),
            column("pictures", LONG, "How many test pictures."),
        ]
    ),
    ("encoder_id", "label", "predicted"),
    {"pictures_not_negative": "pictures >= 0"},
)

ADAPTATION_CURVES = Table(
    "adaptation_curves",
    "adapt",
    "Points of the ROC, precision-recall and calibration curves of each version of an adapted encoder.",
    StructType(
        [
            _ENCODER,
            column("curve", STRING, "`roc`, `precision_recall` or `calibration`."),
            column("label", STRING, "The label against all others; empty: the given labels (calibration)."),
            column("point", INT, "0, 1, 2, ... along the curve."),
            column("x", DOUBLE, "False positive rate, recall, or mean probability."),
            column("y", DOUBLE, "True positive rate, precision, or share that was right."),
            column(
                "threshold", DOUBLE, "Least probability that counts as a yes; calibration: start of the bin."
            ),
            column("pictures", LONG, "Pictures at or above the threshold; calibration: in the bin."),
        ]
    ),
    ("encoder_id", "curve", "label", "point"),
    {
        "curve_known": "curve IN ('roc', 'precision_recall', 'calibration')",
        "x_share": _SHARE.format("x"),
        "y_share": _SHARE.format("y"),
    },
)

ADAPTATION_MISTAKES = Table(
    "adaptation_mistakes",
    "adapt",
    "Test pictures that each version of an adapted encoder got wrong, the surest first, some for each label.",
    StructType(
        [
            _ENCODER,
            column("label", STRING, "A true label of the picture."),
            column("rank", INT, "1 for the mistake that it was surest of."),
            column("sha256", STRING, "SHA-256 of the picture's bytes."),
            column("predicted", STRING, "The label it was given instead; empty: none."),
            column(
                "probability",
                DOUBLE,
                "What it gave the predicted label, 0 to 1; none: 1 less the true one's.",
            ),
        ]
    ),
    ("encoder_id", "label", "rank"),
    {"rank_from_one": "rank >= 1", "probability_share": _SHARE.format("probability")},
)

IMAGE_LABELS = Table(
    "image_labels",
    "embed",
    "What an adapted encoder takes each picture for.",
    StructType(
        [
            column("sha256", STRING, "SHA-256 of the picture's bytes."),
            column("encoder_id", STRING, "The adapted encoder."),
            column("label", STRING, "A label that it knows."),
            column(
                "probability",
                FLOAT,
                "How sure it is, 0 to 1; calibrated on pictures it had not learned from.",
            ),
            column("rank", INT, "1 for the most probable label of the picture."),
            column(
                "given",
                BooleanType(),
                "Whether the picture gets the label: the first of several, or each of at least one half.",
            ),
        ]
    ),
    ("sha256", "encoder_id", "label"),
    {
        "sha256_is_hex": "sha256 rlike '^[0-9a-f]{64}$'",
        "probability_share": _SHARE.format("probability"),
        "rank_from_one": "rank >= 1",
    },
    partition_by=("encoder_id",),
)
