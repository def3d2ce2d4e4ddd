"""The page in a browser: pictures load, nothing is complained about or fetched, nothing sticks out on a phone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import NoReturn

import pytest
from devtools import CONTRASTS, NO_BROWSER, STICKS_OUT, Page, find_chromium, in_ci, wants_chromium
from PIL import Image

from tests.reporting import sections
from vizrec_spark.imaging import thumbnail
from vizrec_spark.report.model import (
    Facts,
    Gallery,
    Item,
    LookAlike,
    Offer,
    Seen,
    Shopper,
    Showcase,
    Thumbnail,
)
from vizrec_spark.report.render import render, render_look

CHROMIUM = find_chromium()
pytestmark = wants_chromium()


def lacking(what: str) -> NoReturn:
    """What a machine lacks skips the tests that want it; in CI, which is there to run them, it fails them."""
    if in_ci():
        pytest.fail(what)
    pytest.skip(what)


# Pictures stand behind `background-image`: to know that a browser can show one, it is loaded once more as an image.
_SIZES = """
Promise.all([...new Set([...document.querySelectorAll("*")]
  .map(e => getComputedStyle(e).backgroundImage).filter(b => b.startsWith("url(")))]
  .map(b => new Promise(done => {
    const image = new Image();
    image.onload = image.onerror = () => done(image.naturalWidth);
    image.src = b.slice(5, -2);
  })))
"""


def _thumbnail(colour: tuple[int, int, int], size: tuple[int, int]) -> Thumbnail:
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    made = thumbnail(out.getvalue(), 96)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with long words, long lists, missing pictures and a shopper of every sort; beside it `look.html`, the same
    galleries as one looks them up."""
    thumbs = {f"k{i}": _thumbnail((20 * i, 90, 200 - 15 * i), (60 + 9 * i, 90)) for i in range(10)}
    items = [
        Item(f"item-{i}", "Unbreakable" * 9 if i == 3 else f"Product number {i}", ("Shoes",), {}, f"k{i}")
        for i in range(10)
    ]
    items.append(Item("no-picture", "Lost & <found>"))
    when = datetime(2025, 6, 30, tzinfo=UTC)
    history = tuple(Seen(item, "view", when - timedelta(days=i), 3.5) for i, item in enumerate(items[:8]))
    sources = ("als", "visual", "popularity")
    offers = tuple(
        Offer(
            item,
            i + 1,
            0.9 - i / 20,
            0.5 - i / 20,
            0.3,
            0.1,
            sources[i % 3],
            "Looks like it " * 8,
            items[0],
            i == 2,
        )
        for i, item in enumerate(items)
    )
    shoppers = (
        Shopper("u" * 70, "long", 214, 900, history, offers),
        Shopper("cold", "cold", 0, 0, (), offers[::-1]),
        Shopper("idle", "short", 1, 1, history[:1], ()),
    )
    alike = tuple(LookAlike(item, 0.9, 1.0) for item in items)
    facts = Facts(
        "run-" + "x" * 90,
        10**7,
        10**6,
        10**7,
        10**9,
        when,
        "e" * 64,
        "keras.applications:ResNet50",
        "m" * 64,
    )
    file = tmp_path_factory.mktemp("report") / "report.html"
    showcases = (
        Showcase(items[3], alike),
        Showcase(replace(items[4], categories=("Bags & <more>",)), alike[:3]),
    )
    shown = Gallery(facts, shoppers, showcases, thumbs)
    looked = render_look(shown, "Looks like item-3", sections(items[:10], thumbs["k1"])[1:2])
    file.with_name("look.html").write_text(looked, encoding="utf-8")
    file.write_text(render(shown, sections(items[:10], thumbs["k1"])), encoding="utf-8")
    return file


@pytest.fixture
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        lacking(NO_BROWSER)
    with Page(CHROMIUM) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 390])
def test_the_page_as_a_person_meets_it(page: Page, report: Path, width: int, scheme: str) -> None:
    page.screen(width, 850, scheme)
    page.open(report)
    sizes = page.value(_SIZES)
    assert len(sizes) == 10
    assert min(sizes) > 0
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.value(STICKS_OUT) <= 0
    assert page.value(CONTRASTS) == []
    complaints = [e for e in page.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    complaints += [e for e in page.events if e["method"] == "Runtime.consoleAPICalled"]
    assert complaints == []
    asked = {e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith(("data:", "about:"))} == {report.resolve().as_uri()}


AXE = "axe-core@4.14.1"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("axe")
    if npm is None:
        lacking("npm is not on PATH: it brings axe-core (Debian: apt-get install npm)")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=90)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lacking(f"npm cannot fetch {AXE} here: {error}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("report.html", 1280, "light"), ("report.html", 390, "dark"), ("look.html", 390, "light")],
)
def test_axe_finds_no_serious_fault(
    page: Page, report: Path, axe: str, name: str, width: int, scheme: str
) -> None:
    page.send("Page.setBypassCSP", enabled=True)  # the page itself lets no script run
    page.screen(width, 850, scheme)
    page.open(report.with_name(name))
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.value(axe + ";0")
    found = page.value(
        "axe.run({resultTypes: ['violations']}).then(r => [r.passes.length, r.violations.map("
        "v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 200)])])"
    )
    passed, faults = found
    assert passed > 20
    assert [fault for fault in faults if fault[0] in ("serious", "critical")] == []


_VISIBLE = "[...document.querySelectorAll('{}')].filter(one => one.checkVisibility()).map(one => one.id)"


def test_filters_show_what_they_name_and_every_link_leads_somewhere(page: Page, report: Path) -> None:
    page.screen(1280, 850)
    page.open(report)
    everyone = ["shopper-1", "shopper-2", "shopper-3"]
    assert page.value(_VISIBLE.format(".shopper")) == everyone
    page.click("label[for=kind-cold]")
    assert page.value(_VISIBLE.format(".shopper")) == ["shopper-2"]
    assert (
        page.value("[...document.querySelectorAll('.index li')].filter(one => one.checkVisibility()).length")
        == 1
    )
    for kind in ("keyDown", "keyUp"):  # the next of the group, by the keyboard
        page.send(
            "Input.dispatchKeyEvent", type=kind, key="ArrowLeft", code="ArrowLeft", windowsVirtualKeyCode=37
        )
    assert page.value(_VISIBLE.format(".shopper")) == ["shopper-1"]
    page.click("label[for=kind-all]")
    assert page.value(_VISIBLE.format(".shopper")) == everyone
    assert page.value(_VISIBLE.format(".alike")) == ["item-1", "item-2"]
    page.value(
        "[...document.querySelectorAll('#looks-like label')].find(l => l.textContent.includes('Bags')).click()"
    )
    assert page.value(_VISIBLE.format(".alike")) == ["item-2"]
    lost = "[...document.querySelectorAll('a')].filter(a => !document.getElementById(a.hash.slice(1))).length"
    assert page.value("document.querySelectorAll('a').length") > 10
    assert page.value(lost) == 0
    page.value("document.querySelector('.bar-nav a[href=\"#space\"]').click()")
    assert page.value("location.hash") == "#space"


def test_paper_shows_all_of_it(page: Page, report: Path) -> None:
    """On A4, of which 1 cm a side stays white: nothing scrolls on paper, so nothing may be cut off."""
    page.screen(718, 1000)
    page.send("Emulation.setEmulatedMedia", media="print")
    page.open(report)
    cut = page.value(
        "[...document.querySelectorAll('.strip, .map-frame, .scroll')].filter(one => one.checkVisibility()"
        " && one.scrollWidth > one.clientWidth + 1).map(one => one.className + ' ' + one.scrollWidth)"
    )
    assert cut == []
    assert page.value(STICKS_OUT) <= 0
    assert page.value("document.querySelectorAll('.offers li').length") > 10


def test_the_tab_key_reaches_every_link_and_strip_and_shows_where_it_is(page: Page, report: Path) -> None:
    page.screen(390, 850)
    page.open(report)
    # The tables behind a closed `summary` cannot be reached, and should not; of a filter one choice can.
    focusable = page.value(
        "[...document.querySelectorAll('a, summary, [tabindex=\"0\"], :checked')]"
        ".filter(one => one.checkVisibility()).length"
    )
    reached = set()
    for _ in range(focusable):
        for kind in ("keyDown", "keyUp"):
            page.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        number, outline = page.value(
            "(() => { const at = document.activeElement, shown = at.labels?.[0] ?? at;"
            " return [[...document.querySelectorAll('*')].indexOf(at), getComputedStyle(shown).outlineStyle]; })()"
        )
        assert outline == "solid"
        reached.add(number)
    assert len(reached) == focusable >= 12
