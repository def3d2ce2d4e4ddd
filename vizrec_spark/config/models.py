"""What can be configured: one frozen model a section, with its default, its range and its meaning.

conf/base.yml shows the same defaults with comments (a test keeps the two equal).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(min_length=1)]
Suffix = Annotated[str, Field(pattern=r"^[a-z0-9]+$", description="in small letters, without the dot")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Format = Literal["csv", "json", "parquet", "delta"]


class Section(BaseModel):
    """Base of all sections: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of the section's canonical JSON."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class TablesConfig(Section):
    """Where the Delta tables live: below a path (any Hadoop file system), or in a catalog's schema if given."""

    root: Name = "work/tables"
    catalog: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*\.[A-Za-z_]\w*$")] | None = None


class SparkConfig(Section):
    """Spark settings for a session that this process starts; under spark-submit its own flags win."""

    master: Name | None = None
    conf: dict[str, str] = {}


class SourceConfig(Section):
    """A landing file or folder, and how to read it."""

    path: Name
    format: Format = "csv"
    options: dict[str, str] = {}


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
    """An optional list of users who must get recommendations even before they do anything."""

    path: Name | None = None  # type: ignore[assignment]
    column: Name = "user_id"


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


class AffinePreprocessing(Section):
    """Pixels x in [0, 255] become (x - mean) / scale."""

    mean: float
    scale: Annotated[float, Field(gt=0)]


class EmbedConfig(Section):
    """Stage `embed`: the encoder and how it is run."""

    encoder: Name = "keras.applications:ResNet50"
    weights: Name | None = None
    layer: Name | None = None
    input_size: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] | None = None
    preprocessing: Literal["auto", "caffe", "tf", "torch", "identity"] | AffinePreprocessing = "auto"
    options: dict[str, int | float | str | bool] = {}
    cache: Name = "work/encoders"
    batch_size: Annotated[int, Field(ge=1)] = 32
    threads: Annotated[int, Field(ge=1)] | None = None
    partitions: Annotated[int, Field(ge=1)] | None = None
    max_failed_share: Share = 0.05


class SimilarConfig(Section):
    """Stage `similar`: look-alikes of every item."""

    method: Literal["auto", "exact", "lsh"] = "auto"
    metric: Literal["cosine", "euclidean"] = "cosine"
    k: Annotated[int, Field(ge=1, le=1000)] = 50
    exact_below: Annotated[int, Field(ge=0)] = 20_000
    tables: Annotated[int, Field(ge=1, le=64)] | None = None
    bits: Annotated[int, Field(ge=1, le=24)] | None = None
    target_recall: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    bucket_cap: Annotated[int, Field(ge=2)] = 4096
    block_rows: Annotated[int, Field(ge=1)] = 2048
    recall_queries: Annotated[int, Field(ge=1)] = 200
    seed: int = 42


class AlsConfig(Section):
    """Stage `als`: MLlib's alternating least squares."""

    preference: Literal["implicit", "explicit"] = "implicit"
    rank: Annotated[int, Field(ge=1, le=1024)] = 32
    iterations: Annotated[int, Field(ge=1)] = 12
    regularization: Annotated[float, Field(gt=0)] = 0.05
    alpha: Annotated[float, Field(ge=0)] = 10.0
    max_weight: Annotated[float, Field(gt=0)] = 20.0
    blocks: Annotated[int, Field(ge=1)] = 4
    checkpoint_dir: Name = "work/checkpoints"
    checkpoint_interval: Annotated[int, Field(ge=1)] = 5
    seed: int = 42


class BlendWeights(Section):
    """Weights of the parts of the score."""

    cf: Annotated[float, Field(ge=0)] = 0.5
    visual: Annotated[float, Field(ge=0)] = 0.4
    popularity: Annotated[float, Field(ge=0)] = 0.1

    @model_validator(mode="after")
    def _not_all_zero(self) -> BlendWeights:
        if self.cf + self.visual + self.popularity == 0:
            raise ValueError("at least one weight must be above 0")
        return self


class CandidatesConfig(Section):
    """How many candidates each source may propose for a user."""

    als: Annotated[int, Field(ge=0)] = 200
    visual: Annotated[int, Field(ge=0)] = 200
    popularity: Annotated[int, Field(ge=0)] = 100


class RecommendConfig(Section):
    """Stage `recommend`."""

    k: Annotated[int, Field(ge=1)] = 20
    weights: BlendWeights = BlendWeights()
    candidates: CandidatesConfig = CandidatesConfig()
    history: Annotated[int, Field(ge=1)] = 50
    half_life_days: Annotated[float, Field(gt=0)] = 30.0
    block_users: Annotated[int, Field(ge=1)] = 1024


class ReportConfig(Section):
    """Stage `report`: the HTML gallery."""

    path: Name = "work/report.html"
    shoppers: Annotated[int, Field(ge=1, le=100)] = 8
    items: Annotated[int, Field(ge=1, le=100)] = 10
    thumbnail: Annotated[int, Field(ge=32, le=512)] = 160

    @model_validator(mode="after")
    def _local(self) -> ReportConfig:
        if "://" in self.path:
            raise ValueError(
                "`path` must be a file of this machine; copy the page to an object store afterwards"
            )
        return self


class Config(Section):
    """The whole configuration."""

    tables: TablesConfig = TablesConfig()
    spark: SparkConfig = SparkConfig()
    ingest: IngestConfig = IngestConfig()
    embed: EmbedConfig = EmbedConfig()
    similar: SimilarConfig = SimilarConfig()
    als: AlsConfig = AlsConfig()
    recommend: RecommendConfig = RecommendConfig()
    report: ReportConfig = ReportConfig()
