"""What the page shows, as plain values: the one thing that `render` sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vizrec_spark.imaging import Thumbnail


@dataclass(frozen=True)
class Item:
    """An item as people see it; `picture` is a key of `Gallery.thumbnails`, null where there is none to show."""

    item_id: str
    title: str | None = None
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    picture: str | None = None

    @property
    def name(self) -> str:
        """The title; the id where the item has no title."""
        return (self.title or "").strip() or self.item_id


@dataclass(frozen=True)
class Seen:
    """One item of a history: the event of most weight, the latest rating, the time of the last event (UTC)."""

    item: Item
    event: str
    when: datetime | None
    rating: float | None = None


@dataclass(frozen=True)
class Offer:
    """One recommendation; `cf`, `visual` and `popularity` add up to `score`."""

    item: Item
    rank: int
    score: float
    cf: float
    visual: float
    popularity: float
    source: str
    reason: str
    because: Item | None = None
    is_new: bool = False


@dataclass(frozen=True)
class Shopper:
    """One user: why this one is shown (`kind`, a key of `select.KINDS`), history newest first, offers by rank."""

    user_id: str
    kind: str
    n_items: int
    n_events: int
    history: tuple[Seen, ...] = ()
    offers: tuple[Offer, ...] = ()


@dataclass(frozen=True)
class LookAlike:
    """A neighbour with its cosine (-1 to 1) and Euclidean distance."""

    item: Item
    cosine: float
    distance: float


@dataclass(frozen=True)
class Showcase:
    """An item with its look-alikes, nearest first."""

    item: Item
    look_alikes: tuple[LookAlike, ...]


@dataclass(frozen=True)
class Refused:
    """How many records of an input were refused for one reason."""

    source: str
    reason: str
    count: int


@dataclass(frozen=True)
class Recall:
    """Share of the exact `k` nearest that were found (0 to 1), with its 95 % interval."""

    method: str
    k: int
    mean: float
    lo: float
    hi: float
    n_queries: int


@dataclass(frozen=True)
class Ran:
    """The last run of a stage: when it ended (UTC), its outcome, seconds, rows changed, and figures by name."""

    stage: str
    ended: datetime
    outcome: str
    seconds: float
    changed: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What the page says about the run and its data."""

    run_id: str
    n_items: int
    n_users: int
    n_pictures: int
    n_interactions: int
    latest: datetime | None = None
    encoder_id: str | None = None
    encoder_name: str | None = None
    model_id: str | None = None
    recall: Recall | None = None
    refused: tuple[Refused, ...] = ()
    runs: tuple[Ran, ...] = ()

    @property
    def n_refused(self) -> int:
        """All records in quarantine."""
        return sum(r.count for r in self.refused)


@dataclass(frozen=True)
class Gallery:
    """The whole page. `thumbnails` by content hash: each distinct picture once."""

    facts: Facts
    shoppers: tuple[Shopper, ...] = ()
    showcases: tuple[Showcase, ...] = ()
    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)
