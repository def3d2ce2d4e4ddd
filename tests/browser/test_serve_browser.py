"""The storefront, clicked through in a browser on the real service and real tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools import CONTRASTS, NO_BROWSER, STICKS_OUT, Page, find_chromium, wants_chromium

from tests.serving import HOSTILE, NO_PICTURE, NOT_SHOWN, PLAIN, USERS, Service, Shop, drawn

CHROMIUM = find_chromium()
pytestmark = wants_chromium()

_ITEMS = "[...document.querySelectorAll('#{} .card')].map(card => card.dataset.item)"
_REASONS = "[...document.querySelectorAll('#{} .why')].map(why => why.textContent)"
_SHOWN = """
[...document.querySelectorAll('img')].filter(image => image.checkVisibility())
  .filter(image => { const at = image.getBoundingClientRect();
    return at.top < innerHeight && at.bottom > 0 && at.left < innerWidth && at.right > 0; })
  .every(image => image.complete && image.naturalWidth > 0)
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    assert CHROMIUM is not None, NO_BROWSER
    with Page(CHROMIUM) as opened:
        yield opened


def until(page: Page, expression: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not page.value(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.05)


def start(page: Page, service: Service) -> None:
    page.events.clear()
    page.open(service.url + "/")
    until(page, "document.body.dataset.ready === 'true'")


def press(page: Page, key: str, code: int) -> None:
    for kind in ("keyDown", "keyUp"):
        text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
        page.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)


def click(page: Page, item: str, where: str = "shop-items") -> None:
    page.value(f"document.querySelector('#{where} [data-item=\"{item}\"]').click()")
    until(page, f"document.querySelector('#{where} [data-item=\"{item}\"]') !== null")
    until(page, "document.querySelectorAll('.busy').length === 0")


def choose(page: Page, file: Path) -> None:
    root = page.send("DOM.getDocument")["root"]["nodeId"]
    node = page.send("DOM.querySelector", nodeId=root, selector="#picture")["nodeId"]
    page.send("DOM.setFileInputFiles", nodeId=node, files=[str(file)])


def complaints(page: Page) -> list[object]:
    """What the browser complains of, but for the one picture that cannot be shown."""
    kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    found = [event for event in page.events if event["method"] in kinds]
    return [event for event in found if NOT_SHOWN not in str(event["params"].get("entry", {}).get("url"))]


def test_a_visit(page: Page, service: Service, shop: Shop, tmp_path: Path) -> None:
    """Somebody new looks around, becomes a shopper, looks at products, and comes with a picture."""
    page.screen(1280, 900)
    start(page, service)
    popular = page.value(_ITEMS.format("for-you-items"))
    assert popular[:3] == PLAIN[:3]
    assert page.value(_REASONS.format("for-you-items"))[0] == "Popular: 6 people chose it"
    assert page.value("document.querySelector('#shop-items').children.length") == 24

    # A title is a text, whatever it looks like.
    assert HOSTILE in page.value("document.querySelector('#shop-items [data-item=p01] .name').textContent")
    assert page.value("document.querySelectorAll('.name img, .name script').length") == 0

    click(page, PLAIN[8])
    near = [item for item in shop.cosines(shop.vectors[PLAIN[8]]) if item != PLAIN[8]][:6]
    assert page.value(_ITEMS.format("alike-items")) == near
    assert set(page.value(_REASONS.format("alike-items"))) == {"Looks like “Product p08”"}
    changed = page.value(_ITEMS.format("for-you-items"))
    assert changed != popular and PLAIN[8] not in changed
    assert "Looks like “Product p08”, which you viewed" in page.value(_REASONS.format("for-you-items"))
    assert page.value("document.activeElement.id") == "product-title"
    assert "Product p08" in page.value("document.getElementById('status').textContent")
    assert page.value("document.querySelector('#shop-items [aria-current=true]').dataset.item") == PLAIN[8]

    click(page, near[0], "alike-items")
    assert page.value("document.getElementById('product-title').textContent") == f"Product {near[0]}"
    assert page.value(_ITEMS.format("for-you-items")) != changed

    page.value(
        "{ const one = document.getElementById('shopper');"
        f" one.value = '{USERS[0]}'; one.dispatchEvent(new Event('change')); }}"
    )
    until(page, f"document.getElementById('status').textContent.includes('{USERS[0]}')")
    assert page.value(_ITEMS.format("for-you-items")) == [row["item_id"] for row in shop.offers[USERS[0]]]
    assert page.value(_REASONS.format("for-you-items")) == [row["reason"] for row in shop.offers[USERS[0]]]

    mine = tmp_path / "mine <b>.jpg"
    mine.write_bytes(shop.pictures[PLAIN[12]][0])
    choose(page, mine)
    until(page, "!document.getElementById('found').hidden")
    assert page.value(_ITEMS.format("found-items"))[0] == PLAIN[12]
    assert page.value("document.getElementById('found-note').textContent") == mine.name
    until(page, "document.getElementById('upload').naturalWidth > 0")
    assert complaints(page) == []
    asked = {e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith((service.url, "blob:" + service.url))} == set()

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(drawn(1)[:400])
    choose(page, broken)
    until(page, "!document.getElementById('trouble').hidden")
    assert "ends too early" in page.value("document.getElementById('trouble').textContent")


def test_pictures_that_are_missing_or_broken_are_shown_as_such(page: Page, service: Service) -> None:
    page.screen(1280, 900)
    start(page, service)
    page.value("document.getElementById('more').click()")
    until(page, "document.querySelectorAll('#shop-items .card').length > 24")
    told = "document.querySelector('#shop-items [data-item=\"{}\"] .pic.none')?.textContent ?? ''"
    assert "No picture" in page.value(told.format(NO_PICTURE))
    page.value(f"document.querySelector('#shop-items [data-item=\"{NOT_SHOWN}\"]').scrollIntoView()")
    until(page, f"({told.format(NOT_SHOWN)}).includes('cannot be shown')")
    click(page, NO_PICTURE)
    assert "no picture" in page.value("document.getElementById('alike-items').textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_can_be_read(
    page: Page, service: Service, tmp_path: Path, width: int, scheme: str
) -> None:
    page.screen(width, 850, scheme)
    start(page, service)
    click(page, PLAIN[1])  # with the longest title
    until(page, _SHOWN)
    assert page.value(STICKS_OUT) <= 0
    assert page.value(CONTRASTS) == []
    small = (
        "[...document.querySelectorAll('button, select, .camera')].filter(one => one.checkVisibility())"
        ".filter(one => one.getBoundingClientRect().height < 40).length"
    )
    assert page.value(small) == 0  # a thumb must hit it
    page.screenshot(tmp_path / f"{width}-{scheme}.png")
    assert (tmp_path / f"{width}-{scheme}.png").stat().st_size > 20_000


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Page, service: Service) -> None:
    page.screen(390, 850)
    start(page, service)
    outlined = (
        "(() => { const at = document.activeElement, frame = at.id === 'picture' ? at.parentElement : at;"
        " return [at.id || at.dataset.item || at.className, getComputedStyle(frame).outlineStyle]; })()"
    )
    reached = []
    for _ in range(6):
        press(page, "Tab", 9)
        name, outline = page.value(outlined)
        assert outline == "solid", name
        reached.append(name)
    assert reached == ["skip", "shopper", "picture", "for-you-items", PLAIN[0], PLAIN[1]]
    press(page, "Enter", 13)
    until(page, "!document.getElementById('product').hidden")
    until(page, "document.activeElement.id === 'product-title'")
    press(page, "Tab", 9)
    assert page.value(outlined) == ["product-close", "solid"]
