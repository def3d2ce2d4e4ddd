"""The view model as one HTML page that needs nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from statistics import median
from zlib import crc32

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vizrec_spark.report.model import PARTS, Gallery, Item, Offer, Section, Thumbnail, shorten
from vizrec_spark.report.thumbnails import data_uri

KIND_NAMES = {
    "long": "Longest history",
    "cold": "New shopper",
    "random": "Drawn by lot",
    "visual": "Led by looks",
    "als": "Led by shared taste",
    "new": "Gets new items",
    "short": "First steps",
    "popularity": "Led by popularity",
    "asked": "Asked for",
}
"""Why a shopper is shown, by `Shopper.kind`."""

PAIRS = 6
"""Attributes of an item that are told."""

_HUES = 6
_FITS = 1.3
_RUN = re.compile(r"<!--run-->.*?<!--/run-->", re.DOTALL)


def render(gallery: Gallery, sections: Sequence[Section] = ()) -> str:
    """The page as HTML; every text of the data is escaped, every picture stands in it once, as a data URI."""
    return _page("page.html.j2", gallery, sections=sections)


def render_look(gallery: Gallery, title: str, sections: Sequence[Section] = ()) -> str:
    """A page of the sections and galleries alone, without the facts of a run."""
    return _page("look.html.j2", gallery, title=title, sections=sections)


def _page(template: str, gallery: Gallery, **more: object) -> str:
    names = {key: f"p{i}" for i, key in enumerate(sorted(gallery.thumbnails))}
    aspect = tile_aspect(gallery.thumbnails)
    return (
        _environment()
        .get_template(template)
        .render(
            g=gallery,
            facts=gallery.facts,
            parts=PARTS,
            kinds=KIND_NAMES,
            aspect=aspect,
            pictures=[
                (names[key], Markup(data_uri(thumb)), _fits(thumb, aspect))
                for key, thumb in sorted(gallery.thumbnails.items())
            ],
            picture_class=lambda item: names.get(item.picture),
            segments=_segments,
            full_length=_full_length,
            hue=lambda item: crc32(item.item_id.encode()) % _HUES,
            data_uri=lambda thumb: Markup(data_uri(thumb)),
            **more,
        )
    )


def same_but_for_run(one: str, other: str) -> bool:
    """Whether two pages show the same, whatever run wrote them."""
    return _RUN.sub("", one) == _RUN.sub("", other)


def tile_aspect(thumbnails: Mapping[str, Thumbnail]) -> float:
    """Width over height of the tiles: that of the middle picture, within 2:3 and 4:3; 1 without pictures."""
    if not thumbnails:
        return 1.0
    return min(4 / 3, max(2 / 3, median(t.width / t.height for t in thumbnails.values())))


def about(item: Item) -> str:
    """A line about an item: name, categories, the first `PAIRS` attributes by name, id; each of bounded length."""
    pairs = sorted(item.attributes.items())[:PAIRS]
    told = (
        item.name,
        shorten(", ".join(item.categories)),
        shorten(" · ".join(f"{shorten(key)}: {shorten(value)}" for key, value in pairs)),
        item.item_id,
    )
    return " · ".join(text for text in told if text)


def initials(name: str) -> str:
    """Up to two letters or digits that stand for a name: the first of its first two words."""
    words = re.findall(r"[^\W_]+", name)
    return "".join(word[0] for word in words[:2]).upper() or "?"


def words(code: str) -> str:
    """A code such as ``not_an_image`` as words."""
    return code.replace("_", " ")


def slug(text: str) -> str:
    """A name that can stand in a class or an id, the same for the same text."""
    return f"k{crc32(text.encode()):08x}"


def code(text: str) -> Markup:
    """The text, escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def day(when: datetime | None) -> str:
    """``3 Jun 2025``, or nothing."""
    return "" if when is None else f"{when.day} {when:%b} {when.year}"


def percent(share: float) -> str:
    """``97.3 %``; never rounded up to a whole that it is not."""
    if share == 1.0:
        return "100 %"
    return f"{min(share * 100, 99.9):.1f} %"


def _full_length(offers: Sequence[Offer]) -> float:
    """The most that speaks for one of the offers: the best score, where nothing speaks against any."""
    return max(sum(value for value in _values(offer) if value > 0) for offer in offers) or 1.0


def _segments(offer: Offer, full: float) -> list[tuple[str, str, float, float]]:
    """source, name, value and width in per cent of the bar of `full` length; what speaks against has none."""
    return [(s, PARTS[s], v, 100 * max(0.0, v) / full) for s, v in zip(PARTS, _values(offer), strict=True)]


def _values(offer: Offer) -> tuple[float, float, float]:
    return offer.cf, offer.visual, offer.popularity


def _fits(thumb: Thumbnail, aspect: float) -> bool:
    """Whether the picture may fill its tile: little of it would be cut off."""
    ratio = thumb.width / thumb.height / aspect
    return max(ratio, 1 / ratio) <= _FITS


@cache
def _environment() -> Environment:
    # Titles are other people's text: escaping is on for every template, whatever its name.
    environment = Environment(
        loader=PackageLoader("vizrec_spark.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        day=day,
        initials=initials,
        words=words,
        percent=percent,
        slug=slug,
        code=code,
        short=shorten,
        count=lambda n: f"{n:,}",
    )
    environment.globals.update(about=about)
    return environment
