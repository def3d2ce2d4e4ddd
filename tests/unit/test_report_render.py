"""The page: hostile text stays text, nothing comes from outside, every picture that is named is there."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.reporting import ran
from vizrec_spark.errors import ConfigError
from vizrec_spark.imaging import thumbnail
from vizrec_spark.report.model import (
    LONGEST,
    PARTS,
    Facts,
    Gallery,
    Item,
    LookAlike,
    Offer,
    Seen,
    Shopper,
    Showcase,
)
from vizrec_spark.report.render import (
    KIND_NAMES,
    about,
    initials,
    percent,
    render,
    same_but_for_run,
    slug,
    tile_aspect,
)
from vizrec_spark.report.sections.findings import Finding
from vizrec_spark.report.sections.health import Health
from vizrec_spark.report.sections.space import Space, SpaceRows, Tile, show_space
from vizrec_spark.report.select import KINDS
from vizrec_spark.report.stage import HEAVIEST, require_light, write_atomically
from vizrec_spark.report.thumbnails import data_uri

HOSTILE = "\"><script>alert('x')</script><img src=x onerror=alert(1)> & {{ 7 * 7 }} </style>"
LATEST = datetime(2025, 6, 30, 12, tzinfo=UTC)


def jpeg(width: int = 40, height: int = 60, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def gallery() -> Gallery:
    """Two pictures, one of them shown three times; hostile text in every place that data can fill."""
    shirt = Item("i1", HOSTILE, (HOSTILE,), {HOSTILE: HOSTILE}, "sha-a")
    hat = Item(HOSTILE, None, picture="sha-b")
    bare = Item("i3", "red wool cap")
    offers = (
        Offer(shirt, 1, 0.8, 0.5, 0.2, 0.1, "als", HOSTILE, hat),
        Offer(bare, 2, 0.4, 0.0, 0.3, 0.1, "visual", "Looks like it", shirt, is_new=True),
    )
    shoppers = (
        Shopper(HOSTILE, "long", 9, 30, (Seen(shirt, HOSTILE, LATEST, 4.5),), offers),
        Shopper("u2", "cold", 0, 0),
    )
    facts = Facts(
        HOSTILE,
        1234,
        2,
        3,
        4,
        LATEST,
        encoder_id="enc-1",
        encoder_name=HOSTILE,
        model_id="model-1",
    )
    thumbs = {"sha-a": thumbnail(jpeg(seed=1), 32), "sha-b": thumbnail(jpeg(60, 40, seed=2), 32)}
    assert None not in thumbs.values()
    showcases = (Showcase(hat, (LookAlike(shirt, 0.9, 1.25), LookAlike(bare, -0.1, 7.0))),)
    return Gallery(facts, shoppers, showcases, {k: t for k, t in thumbs.items() if t is not None})


class Reader(HTMLParser):
    """Tags with their attributes, and the text outside of `style`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in {"meta", "link", "input"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    def classes(self) -> set[str]:
        return {name for _, attrs in self.tags for name in attrs.get("class", "").split()}


def test_hostile_text_is_shown_and_stays_text(gallery: Gallery) -> None:
    page = Reader(render(gallery))
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object"}
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert page.unbalanced == []
    assert "".join(page.text).count(HOSTILE) >= 8
    assert f"Picture of {HOSTILE}" in [attrs.get("aria-label") for _, attrs in page.tags]


def test_nothing_is_asked_from_outside(gallery: Gallery) -> None:
    html = render(gallery)
    for tag, attrs in Reader(html).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    assert re.findall(r"url\((?!data:image/jpeg;base64,)", html) == []
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_every_link_has_its_target(gallery: Gallery) -> None:
    tags = Reader(render(gallery)).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for tag, attrs in tags if tag == "a"}
    labels = {i for _, attrs in tags for i in attrs.get("aria-labelledby", "").split()}
    assert len(targets) >= 4
    assert targets | labels <= set(ids)


def test_every_picture_stands_once_and_every_use_finds_it(gallery: Gallery) -> None:
    html = render(gallery)
    page = Reader(html)
    rules = dict(re.findall(r"\.(p\d+)\{background-image:url\((data:[^)]+)\)", html))
    assert {name for name in page.classes() if re.fullmatch(r"p\d+", name)} == set(rules) == {"p0", "p1"}
    assert html.count("data:image/jpeg") == 2
    assert set(rules.values()) == {data_uri(t) for t in gallery.thumbnails.values()}
    shown = [attrs for _, attrs in page.tags if "pic" in attrs.get("class", "").split()]
    assert len(shown) == 6
    assert all(a["role"] == "img" and a["aria-label"] for a in shown)
    blank = [a["aria-label"] for a in shown if "blank" in a["class"].split()]
    assert blank == ["red wool cap, no picture"] * 2
    assert "RW" in page.text


def test_the_legend_names_every_part_and_the_bars_add_up(gallery: Gallery) -> None:
    page = Reader(render(gallery))
    text = "".join(page.text)
    assert all(text.count(name) >= 2 for name in PARTS.values())
    labels = [a["aria-label"] for _, a in page.tags if a.get("class") == "stack"]
    assert labels == [
        "Score 0.80: shared taste 0.50, looks and attributes 0.20, popularity 0.10",
        "Score 0.40: shared taste 0.00, looks and attributes 0.30, popularity 0.10",
    ]
    bars = [(a["class"], a["style"]) for tag, a in page.tags if tag == "i"]
    assert bars == [
        ("als", "width:62.50%"),
        ("visual", "width:25.00%"),
        ("popularity", "width:12.50%"),
        ("visual", "width:37.50%"),
        ("popularity", "width:12.50%"),
    ]


def test_what_speaks_against_an_offer_makes_no_bar_and_no_other_bar_longer(gallery: Gallery) -> None:
    """Full length is the most that speaks for an offer, so no bar is longer; the part below 0 stands in the table."""
    offers = (
        Offer(gallery.shoppers[0].offers[0].item, 1, 0.8, 1.2, 0.0, -0.4, "als", "why", None),
        Offer(gallery.shoppers[0].offers[1].item, 2, 0.6, 0.6, 0.0, 0.0, "als", "why", None),
    )
    page = Reader(render(replace(gallery, shoppers=(replace(gallery.shoppers[0], offers=offers),))))
    bars = [(a["class"], a["style"]) for tag, a in page.tags if tag == "i"]
    assert bars == [("als", "width:100.00%"), ("als", "width:50.00%")]
    assert "-0.400" in page.text
    everywhere = replace(offers[0], cf=-0.1, popularity=0.0)
    nothing = replace(gallery.shoppers[0], offers=(everywhere,))
    assert not [tag for tag, _ in Reader(render(replace(gallery, shoppers=(nothing,)))).tags if tag == "i"]


def test_an_item_without_a_picture_says_so_to_those_who_see(gallery: Gallery) -> None:
    assert "no picture" in Reader(render(gallery)).text and "broken" not in Reader(render(gallery)).text


def test_the_head_tells_the_facts(gallery: Gallery) -> None:
    text = " ".join(" ".join(Reader(render(gallery)).text).split())
    for fact in ("1,234", "30 Jun 2025", "enc-1", "model-1"):
        assert fact in text


def test_only_the_new_offer_is_marked_new(gallery: Gallery) -> None:
    marks = [a for _, a in Reader(render(gallery)).tags if a.get("class") == "new" and "title" in a]
    assert len(marks) == 1


def test_a_catalogue_of_long_texts_makes_a_light_page(gallery: Gallery) -> None:
    """Titles, attributes and reasons of any length stand in the page many times, so all of them are cut."""
    wide = {f"key-{i:02}" * 50: "value" * 5_000 for i in range(40)}
    long = Item("long-1", "Title " * 20_000, ("Kind " * 5_000,) * 9, wide)
    told = about(long)
    assert len(told) < 3 * LONGEST + 30 and told.endswith(" · long-1") and "key-00" in told
    assert about(Item("i", "T", ("A", "B"), dict.fromkeys("gfedcba", "v"))) == (
        "T · A, B · a: v · b: v · c: v · d: v · e: v · f: v · i"
    )
    offers = tuple(Offer(long, i, 1.0, 1.0, 0.0, 0.0, "als", "reason " * 9_000, long) for i in range(10))
    shoppers = tuple(
        Shopper(f"u{i}", "long", 9, 9, (Seen(long, "view", LATEST),) * 8, offers) for i in range(20)
    )
    alike = Showcase(long, (LookAlike(long, 0.5, 1.0),) * 8)
    space = Space(tuple(Tile(long, 1, 1) for _ in range(200)), 1, 1)
    html = render(replace(gallery, shoppers=shoppers, showcases=(alike,) * 20), (space,))
    assert len(html) < 2_000_000


def test_categories_that_differ_in_case_have_a_filter_each(gallery: Gallery) -> None:
    kinds = ("Shoes", "shoes", "SHOES", "bags")
    items = [Item(f"i{n}", kind, (kind,)) for n, kind in enumerate(kinds)]
    html = render(
        replace(gallery, showcases=tuple(Showcase(i, (LookAlike(i, 1.0, 0.0),)) for i in items)), ()
    )
    filters = re.findall(r'id="category-([^"]+)"', html)
    assert len(set(filters)) == len(filters) and {slug(kind) for kind in kinds} <= set(filters)


def test_a_page_that_is_too_heavy_is_refused() -> None:
    require_light("x" * HEAVIEST)
    with pytest.raises(ConfigError, match=r"15\.0 MB.*report\.thumbnail"):
        require_light("x" * (HEAVIEST + 1))


def test_the_scores_and_the_items_of_the_map_stand_as_text_too(gallery: Gallery) -> None:
    tile = Tile(gallery.shoppers[0].offers[1].item, 3, 4)
    text = " ".join(" ".join(Reader(render(gallery, (Space((tile,), 4, 4),))).text).split())
    assert "Item Rank Score Shared taste Looks and attributes Popularity" in text
    assert "red wool cap 2 0.400 0.000 0.300 0.100" in text
    assert "The items of the map red wool cap · i3 (row 3, column 4)" in text


def test_a_map_that_nobody_wants_is_not_missed(gallery: Gallery) -> None:
    text = "".join(Reader(render(gallery, (show_space(SpaceRows(), {}, None, 0, off=True),))).text)
    assert "report.map is 0" in text and "vizrec embed" not in text


def test_an_empty_shop_makes_a_page() -> None:
    text = "".join(Reader(render(Gallery(Facts("r", 0, 0, 0, 0)))).text)
    assert "No interactions yet." in text
    assert "There are no look-alikes yet." in text


def test_pages_of_two_runs_differ_in_the_run_alone(gallery: Gallery) -> None:
    one = render(gallery)
    assert same_but_for_run(one, render(replace(gallery, facts=replace(gallery.facts, run_id="other"))))
    assert not same_but_for_run(one, render(replace(gallery, facts=replace(gallery.facts, n_items=5))))


def test_a_verdict_that_turns_is_a_change_and_its_time_is_none(gallery: Gallery) -> None:
    good, later = (
        (Health((Finding("good", "Stages", "All ended.", f"On day {hour}."),), (ran("recommend", hour),)),)
        for hour in (1, 2)
    )
    bad = (Health((Finding("bad", "Stages", "All ended."),), (ran("recommend", 1),)),)
    assert "On day 1." in render(gallery, good)
    assert same_but_for_run(render(gallery, good), render(gallery, later))
    assert not same_but_for_run(render(gallery, good), render(gallery, bad))


def test_every_kind_of_shopper_has_a_name() -> None:
    assert set(KIND_NAMES) == {*KINDS, "asked"}


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(80, 40, (32, 16)), (30, 90, (11, 32)), (9, 4, (9, 4))]
)
def test_a_thumbnail_keeps_its_aspect_and_never_grows(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    made = thumbnail(jpeg(width, height), 32)
    assert made is not None
    with Image.open(BytesIO(made.jpeg)) as image:
        assert (image.format, image.size) == ("JPEG", expected)
    assert (made.width, made.height) == expected


def test_bytes_that_are_no_picture_have_no_thumbnail() -> None:
    assert thumbnail(b"", 32) is None
    assert thumbnail(jpeg()[:200], 32) is None


def test_tiles_take_the_shape_of_the_middle_picture() -> None:
    posters = {str(i): thumbnail(jpeg(60, 80, seed=i), 80) for i in range(3)}
    shapes = {k: t for k, t in posters.items() if t is not None}
    assert tile_aspect(shapes) == pytest.approx(0.75)
    assert tile_aspect({}) == 1.0
    tall = thumbnail(jpeg(20, 200), 80)
    assert tall is not None
    assert tile_aspect({"tall": tall}) == pytest.approx(2 / 3)


def test_initials_and_shares() -> None:
    assert [initials(n) for n in ("Red wool cap", "“Amélie” (2001)", "x", "!?")] == ["RW", "A2", "X", "?"]
    assert [percent(s) for s in (1.0, 0.99999, 0.5, 0.0)] == ["100 %", "99.9 %", "50.0 %", "0.0 %"]


def test_a_page_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "report.html"
    write_atomically(path, "first")

    def cut(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("vizrec_spark.report.stage.os.fsync", cut)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
