"""The reason codes of the table `quarantine`: what each one means and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

RECORDS = ("catalogue", "users", "interactions")


@dataclass(frozen=True)
class Reason:
    """A reason code, the sources it occurs in, its meaning and the remedy."""

    code: str
    sources: tuple[str, ...]
    meaning: str
    remedy: str


REASONS = (
    Reason(
        "malformed_record",
        RECORDS,
        "The record is not valid in the file's format or does not have the file's columns.",
        "Repair the file at its source; for CSV look at quotes and separators (`options`).",
    ),
    Reason(
        "bad_encoding",
        RECORDS,
        "The record has bytes that are no text in the file's encoding.",
        "Save the file as UTF-8, or name its encoding: `options: {encoding: ISO-8859-1}`.",
    ),
    Reason(
        "missing_key",
        RECORDS,
        "An id that identifies the record is empty.",
        "Check that `columns` names the right columns; otherwise fill in the id at the source.",
    ),
    Reason(
        "duplicate_key",
        RECORDS,
        "Another record with the same key was accepted: the one that says most, of equal ones the one whose raw text "
        "sorts first.",
        "Remove the repetition at the source if the other record is the right one.",
    ),
    Reason(
        "reused_id",
        ("interactions",),
        "Another live event with this id was accepted (stage `stream`).",
        "Give each event an id of its own where it is sent; a repetition has to be the same event.",
    ),
    Reason(
        "bad_price",
        ("catalogue",),
        "The price is not a finite decimal number of at least 0.",
        "Write prices as plain numbers with a decimal point, without currency.",
    ),
    Reason(
        "bad_added_at",
        ("catalogue",),
        "The date is neither ISO 8601 (1900 to 2100) nor epoch seconds (1971 to 2100).",
        "Write dates as 2024-05-31 or 2024-05-31T12:00:00Z.",
    ),
    Reason(
        "bad_timestamp",
        ("interactions",),
        "The time cannot be read in the configured form or lies outside 1971-01-01 to 2100-01-01.",
        "Set `ingest.interactions.timestamp` to the form of the log (epoch_s, epoch_ms or iso).",
    ),
    Reason(
        "unknown_event",
        ("interactions",),
        "The type of the event has no weight in the configuration.",
        "Give it a weight under `ingest.interactions.events`, or leave it here to ignore it.",
    ),
    Reason(
        "bad_rating",
        ("interactions",),
        "The rating is not a finite number, or is empty where the event is a `rating`.",
        "Repair the rating at its source.",
    ),
    Reason(
        "rating_out_of_range",
        ("interactions",),
        "The rating lies outside the configured scale.",
        "Set `ingest.interactions.rating_min` and `rating_max` to the shop's scale.",
    ),
    Reason(
        "unknown_item",
        ("interactions", "images"),
        "No accepted catalogue record has this item, or names this picture.",
        "Add the item to the catalogue, or look there for why its record was refused.",
    ),
    Reason(
        "missing_file",
        ("images",),
        "The catalogue names a picture that does not exist. Names that begin with _ or . are not looked at.",
        "Copy the picture below `ingest.images.path`, or correct the path, which is relative to it.",
    ),
    Reason("empty_file", ("images",), "The file has no bytes.", "Copy the picture again."),
    Reason(
        "too_large",
        ("images",),
        "The file has more bytes than are read.",
        "Make the picture smaller, or raise `ingest.images.max_bytes`.",
    ),
    Reason(
        "not_an_image",
        ("images",),
        "The bytes are those of none of the formats that are read (JPEG, PNG, WebP, GIF, BMP, TIFF).",
        "Often an error page saved under a picture's name: fetch the picture again.",
    ),
    Reason(
        "truncated",
        ("images",),
        "The picture ends too early.",
        "Copy the picture again.",
    ),
    Reason(
        "decompression_bomb",
        ("images",),
        "Decoding it would take more pixels than are allowed, by its size, the tiles of a TIFF or the scans of a JPEG.",
        "Save the picture anew, smaller or without so many scans, or raise `ingest.images.max_pixels`.",
    ),
    Reason(
        "undecodable",
        ("images",),
        "The header is valid, the data behind it is not.",
        "Save the picture anew from its original.",
    ),
    Reason(
        "non_finite_vector",
        ("images",),
        "The encoder gave NaN or an infinity for this picture (stage `embed`).",
        "Check that `embed.preprocessing` is the one the encoder was trained with.",
    ),
)

BY_CODE = {reason.code: reason for reason in REASONS}
