"""What the page shows, as plain values: the one thing that `render` sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from markupsafe import Markup

from vizrec_spark.imaging import Thumbnail

PARTS = {"als": "Shared taste", "visual": "Looks and attributes", "popularity": "Popularity"}
"""Parts of the score, by the `source` that stands for each, and what the page calls them."""

SHOWN_AS = {"cooccurrence": "als", "attributes": "visual"}
"""Sources that the page shows with another: what comes of other people's choices, and what of the item itself."""


LONGEST = 200
"""Letters of a text of the catalogue that the page shows: it stands there many times."""


def shorten(text: str, most: int = LONGEST) -> str:
    """The text, cut to `most` letters where it is longer."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


@dataclass(frozen=True)
class Item:
    """An item as people see it.

    `picture` is a key of `Gallery.thumbnails`, null where there is none to show; `broken`: its bytes cannot be decoded.
    """

    item_id: str
    title: str | None = None
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    picture: str | None = None
    broken: bool = False

    @property
    def name(self) -> str:
        """The title, shortened; the id where the item has no title."""
        return shorten((self.title or "").strip() or self.item_id)


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
class Facts:
    """What the page says about the run and its data; `n_served`: users who have an offer."""

    run_id: str
    n_items: int
    n_users: int
    n_pictures: int
    n_interactions: int
    latest: datetime | None = None
    encoder_id: str | None = None
    encoder_name: str | None = None
    model_id: str | None = None
    n_served: int = 0


@dataclass(frozen=True)
class Gallery:
    """Shoppers and items to look at; `facts` is null where these are not of a run's page.

    `thumbnails` by content hash: each distinct picture of the page once.
    """

    facts: Facts | None
    shoppers: tuple[Shopper, ...] = ()
    showcases: tuple[Showcase, ...] = ()
    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a section says to a question at the head of the page: a word, a sentence, and how good that is
    (`good`, `look`, `bad` or `unknown`); `when`: the name and time of the run that it is about."""

    question: str
    level: str
    word: str
    sentence: str
    when: str = ""


@dataclass(frozen=True)
class Chart:
    """A plot with what it says in words, and its numbers as a table."""

    title: str
    text: str
    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(Protocol):
    """A part of the page: what links lead to, what it is called in the bar and above it, the template that draws it
    with the section as `s`, and its answer for the head, where it has one."""

    @property
    def anchor(self) -> str:
        """The id of its element."""

    @property
    def label(self) -> str:
        """A word or two for the bar."""

    @property
    def template(self) -> str:
        """Name of its template."""

    @property
    def answer(self) -> Answer | None:
        """For the head of the page."""
