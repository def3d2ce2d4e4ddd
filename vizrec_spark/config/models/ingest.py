"""Section `ingest`: landing files and what their columns mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from vizrec_spark.config.models.section import Name, Section, Share

Suffix = Annotated[str, Field(pattern=r"^[a-z0-9]+$", description="in small letters, without the dot")]
RATING_EVENT = "rating"
"""The event of a log that holds nothing but ratings."""

# Without these, records would vanish before they could be quarantined.
_OUR_OPTIONS = {"mode", "columnnameofcorruptrecord", "enforceschema", "inferschema"}

Format = Literal["csv", "json", "parquet", "delta"]


class SourceConfig(Section):
    """A landing file or folder, and how to read it."""

    path: Name
    format: Format = "csv"
    options: dict[str, str] = {}

    @field_validator("options")
    @classmethod
    def _not_ours(cls, options: dict[str, str]) -> dict[str, str]:
        ours = sorted(name for name in options if name.lower() in _OUR_OPTIONS)
        if ours:
            raise ValueError(
                f"the reader sets {', '.join(ours)} itself, so that no record is lost; leave it out"
            )
        return options


class CatalogueColumns(Section):
    """Names of the catalogue's columns; null where the catalogue has none."""

    item_id: Name = "item_id"
    title: Name | None = "title"
    categories: Name | None = None
    price: Name | None = None
    added_at: Name | None = None
    image: Name | None = "image"
    attributes: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _attributes_once(self) -> CatalogueColumns:
        twice = sorted({name for name in self.attributes if self.attributes.count(name) > 1})
        if twice:
            raise ValueError(f"`attributes` may name a column once; named twice: {', '.join(twice)}")
        return self


class CatalogueConfig(SourceConfig):
    """The catalogue: one record an item."""

    path: Name = "work/landing/items.csv"
    columns: CatalogueColumns = CatalogueColumns()
    separator: Name = "|"


class UsersConfig(SourceConfig):
    """An optional list of users who must get recommendations even before they do anything, and, where a column
    `segment` is named, the group that each belongs to."""

    path: Name | None = None  # type: ignore[assignment]
    column: Name = "user_id"
    segment: Name | None = None

    @model_validator(mode="after")
    def _segment_of_a_file(self) -> UsersConfig:
        if self.segment is not None and self.path is None:
            raise ValueError("`segment` is a column of the users file: name its `path` too")
        return self


class InteractionColumns(Section):
    """Names of the interaction log's columns; `event` or `rating` may be null, not both."""

    user_id: Name = "user_id"
    item_id: Name = "item_id"
    timestamp: Name = "timestamp"
    event: Name | None = "event"
    rating: Name | None = None

    @model_validator(mode="after")
    def _says_something(self) -> InteractionColumns:
        if self.event is None and self.rating is None:
            raise ValueError("name the column of the `event`, of the `rating`, or of both")
        return self


class InteractionsConfig(SourceConfig):
    """The interaction log: implicit events with a weight per type, explicit ratings, or both."""

    path: Name = "work/landing/events.csv"
    columns: InteractionColumns = InteractionColumns()
    events: Annotated[dict[Name, Annotated[float, Field(gt=0)]], Field(min_length=1)] = {
        "view": 1.0,
        "cart": 3.0,
        "buy": 5.0,
        "rating": 1.0,
    }
    rating_min: float = 0.5
    rating_max: float = 5.0
    liked_from: float | None = None
    timestamp: Literal["epoch_s", "epoch_ms", "iso"] = "epoch_s"

    @model_validator(mode="after")
    def _range(self) -> InteractionsConfig:
        if self.rating_min >= self.rating_max:
            raise ValueError("`rating_min` must be below `rating_max`")
        if self.columns.event is None and RATING_EVENT not in self.events:
            raise ValueError(
                f"without a column of events every row is a `{RATING_EVENT}`: give `events` its weight"
            )
        if not self.rating_min <= self.likes_from <= self.rating_max:
            raise ValueError("`liked_from` must lie within `rating_min` to `rating_max`")
        return self

    @property
    def likes_from(self) -> float:
        """The lowest rating that says that somebody likes an item: `liked_from`, or the middle of the scale."""
        return self.liked_from if self.liked_from is not None else (self.rating_min + self.rating_max) / 2


class ImagesConfig(Section):
    """The pictures: a folder or object store, searched with all its sub-folders."""

    path: Name = "work/landing"
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000
    max_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    suffixes: tuple[Suffix, ...] = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")


class IngestConfig(Section):
    """Stage `ingest`."""

    catalogue: CatalogueConfig = CatalogueConfig()
    users: UsersConfig = UsersConfig()
    interactions: InteractionsConfig = InteractionsConfig()
    images: ImagesConfig = ImagesConfig()
    max_refused_share: Share = 0.5
