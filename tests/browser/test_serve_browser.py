"""The storefront, clicked through in a browser on the real service and real tables."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from devtools import CONTRASTS, NO_BROWSER, STICKS_OUT, Page, find_chromium, wants_chromium

from tests.serving import (
    HOSTILE,
    NO_PICTURE,
    NOT_SHOWN,
    PLAIN,
    USERS,
    Service,
    Shop,
    drawn,
    live_row,
    running,
    write_table,
)
from vizrec_spark.tables import schemas as S

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
    page.click(f'#{where} [data-item="{item}"]')
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


@pytest.fixture(scope="module")
def own_shop(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Tables to be written to."""
    return shop.copy(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def lively(own_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on them, which reads live lists several times a second."""
    with running(own_shop, tmp_path_factory.mktemp("lively"), "serve.live_seconds=0.2") as started:
        yield started


def become(page: Page, user: str) -> None:
    page.value(
        "{ const one = document.getElementById('shopper');"
        f" one.value = '{user}'; one.dispatchEvent(new Event('change')); }}"
    )


def text(page: Page, place: str) -> str:
    return str(page.value(f"document.getElementById('{place}').textContent"))


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

    become(page, USERS[0])
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
    page.click("#more")
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


def test_a_live_list_shows_up_without_a_click(page: Page, lively: Service, own_shop: Shop) -> None:
    """The list of the chosen shopper is written while the page is open, then that of somebody else."""
    now = datetime.now(UTC)
    page.screen(1280, 900)
    start(page, lively)
    become(page, USERS[0])
    until(page, f"document.getElementById('status').textContent.includes('{USERS[0]}')")
    batch = [row["item_id"] for row in own_shop.offers[USERS[0]]]
    assert page.value(_ITEMS.format("for-you-items")) == batch
    assert text(page, "for-you-note") == "From your history."
    live = live_row(own_shop, USERS[0], 90, now)
    wanted = [row["item_id"] for row in live["offers"]]
    held = next(item for item in batch if item in wanted)
    page.value(f"document.querySelector('#for-you-items [data-item=\"{held}\"]').focus()")
    write_table(own_shop.root, S.LIVE_RECOMMENDATIONS, [live])
    wanted = [row["item_id"] for row in live["offers"]]
    until(
        page,
        f"JSON.stringify({_ITEMS.format('for-you-items')}) === '{json.dumps(wanted, separators=(',', ':'))}'",
    )
    assert page.value(_REASONS.format("for-you-items")) == [row["reason"] for row in live["offers"]]
    assert text(page, "for-you-note").startswith("Live: from your history and what you did last, made at ")
    assert text(page, "status") == "The list for you has changed."
    page.value("document.getElementById('status').textContent = ''")
    assert page.value("document.activeElement.dataset.item") == held

    # Somebody else's list changes: nothing is drawn anew.
    page.value("document.querySelector('#for-you-items').firstChild.dataset.still = 'here'")
    again = live_row(own_shop, "just-come", 95, now + timedelta(seconds=5))
    write_table(own_shop.root, S.LIVE_RECOMMENDATIONS, [live, again])
    until(page, "[...document.getElementById('shopper').options].some(one => one.value === 'just-come')")
    assert page.value("[...document.getElementById('shopper').options].map(one => one.value)")[:3] == [
        *("", "just-come", USERS[0])
    ]
    assert page.value("document.getElementById('shopper').value") == USERS[0]
    assert page.value("document.querySelector('#for-you-items').firstChild.dataset.still") == "here"
    assert text(page, "status") == ""

    # What was looked at on the page goes on from the newer list.
    click(page, PLAIN[8])
    before = page.value(_ITEMS.format("for-you-items"))
    newer = live_row(own_shop, USERS[0], 97, now + timedelta(seconds=9))
    write_table(own_shop.root, S.LIVE_RECOMMENDATIONS, [newer])
    until(
        page,
        f"JSON.stringify({_ITEMS.format('for-you-items')}) !== '{json.dumps(before, separators=(',', ':'))}'",
    )
    assert "product you just looked at" in text(page, "for-you-note")
    assert complaints(page) == []


_GIVES = """
(async () => {
  const bytes = Uint8Array.from(atob("%s"), one => one.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "%s", { type: "image/jpeg" }));
  const told = { bubbles: true, cancelable: true };
  %s
})()
"""
_DROPS = """
  for (const kind of ["dragenter", "dragover"]) {
    const event = new DragEvent(kind, { ...told, dataTransfer: data });
    document.body.dispatchEvent(event);
    if (kind === "dragover" && !event.defaultPrevented) throw Error("the browser would open the file");
  }
  if (document.getElementById("drop").hidden) throw Error("nothing says that it may be dropped");
  const event = new DragEvent("drop", { ...told, dataTransfer: data });
  document.body.dispatchEvent(event);
  if (!event.defaultPrevented) throw Error("the browser opens the file");
"""
_PASTES = 'document.body.dispatchEvent(new ClipboardEvent("paste", { ...told, clipboardData: data }));'


@pytest.mark.parametrize(("name", "gives"), [("dropped.jpg", _DROPS), ("pasted.jpg", _PASTES)])
def test_a_picture_that_is_dropped_or_pasted_is_searched_for(
    page: Page, service: Service, shop: Shop, name: str, gives: str
) -> None:
    page.screen(1280, 900)
    start(page, service)
    content = base64.b64encode(shop.pictures[PLAIN[12]][0]).decode("ascii")
    page.value(_GIVES % (content, name, gives))
    until(page, "!document.getElementById('found').hidden")
    assert page.value(_ITEMS.format("found-items"))[0] == PLAIN[12]
    assert text(page, "found-note") == name
    assert page.value("document.getElementById('drop').hidden")
    until(page, "document.getElementById('upload').naturalWidth > 0")
    assert complaints(page) == []


def test_with_a_key_the_page_asks_for_it_and_shows_everything(
    page: Page, own_shop: Shop, tmp_path: Path
) -> None:
    key = "a-long-key-of-this-test"
    with running(
        own_shop, tmp_path, "serve.api_key_variable=TEST_KEY", environment={"TEST_KEY": key}
    ) as closed:
        page.screen(1280, 900)
        start(page, closed)
        assert not page.value("document.getElementById('key-form').hidden")
        assert text(page, "trouble") == "Enter the key of this shop."
        assert page.value("document.activeElement.id") == "key"
        page.value(_HOLDS % "/v1/users")
        for entered, opened in (("a-wrong-key", False), (key, True)):
            page.value(f"document.getElementById('key').value = '{entered}'")
            press(page, "Enter", 13)
            until(page, f"document.getElementById('key-form').hidden === {str(opened).lower()}")
            until(page, "document.querySelectorAll('.busy').length === 0")
        until(page, "document.querySelectorAll('#shop-items .card').length === 24")
        assert page.value("document.getElementById('trouble').hidden")
        # What the wrong key is told comes when the right one has long been taken.
        assert page.value("window.release.length") == 2
        page.value("window.release.forEach(done => done())")
        until(
            page, f"[...document.getElementById('shopper').options].some(one => one.value === '{USERS[0]}')"
        )
        time.sleep(0.5)
        assert page.value("document.getElementById('key-form').hidden")
        assert page.value("document.getElementById('trouble').hidden")
        click(page, PLAIN[8])
        # The pictures cannot carry the key: the page fetches them itself.
        until(page, _SHOWN)
        assert page.value("document.querySelectorAll('#shop-items img').length") >= 20
        until(page, "[...document.querySelectorAll('#shop-items img')].every(one => one.naturalWidth > 0)")
        assert page.value(
            "[...document.querySelectorAll('#shop-items img')].every(one => one.src.startsWith('blob:'))"
        )
        assert page.value("sessionStorage.getItem('vizrec-key')") == key
        page.value("sessionStorage.clear()")


_HOLDS = """
{
  const real = window.fetch;
  window.release = [];
  window.fetch = (path, options) => String(path).startsWith("%s")
    ? new Promise(done => window.release.push(done)).then(() => real(path, options)) : real(path, options);
}
"""


@pytest.mark.parametrize("away", ["shopper", "forget", "product-close"])
def test_a_product_that_was_left_does_not_come_back(page: Page, service: Service, away: str) -> None:
    """Its answer comes when the visitor has gone on."""
    page.screen(1280, 900)
    start(page, service)
    click(page, PLAIN[8])
    page.value(_HOLDS % "/v1/item")
    page.value(f"document.querySelector('#shop-items [data-item=\"{PLAIN[9]}\"]').click()")
    until(page, "window.release.length > 0")
    if away == "shopper":
        become(page, USERS[0])
    else:
        page.value(f"document.getElementById('{away}').click()")
    until(page, "document.getElementById('product').hidden")
    until(page, "document.querySelectorAll('.busy').length === 0")
    before = text(page, "status")
    page.value("window.release.forEach(done => done())")
    time.sleep(1.0)
    assert page.value("document.getElementById('product').hidden")
    assert text(page, "status") == before and "p09" not in before


_REFUSES = """
{
  const real = window.fetch;
  window.refusing = true;
  const body = JSON.stringify({ error: { code: "overloaded", message: "more requests come than can be answered" } });
  window.fetch = (path, options) => window.refusing && String(path).startsWith("/v1/recommendations")
    ? Promise.resolve(new Response(body, { status: 503 })) : real(path, options);
}
"""


def test_a_list_that_did_not_come_is_not_announced(page: Page, service: Service) -> None:
    page.screen(1280, 900)
    start(page, service)
    page.value(_REFUSES)
    click(page, PLAIN[8])
    until(page, "document.getElementById('status').textContent !== ''")
    assert text(page, "status") == "Product p08: 6 products look like it."
    assert "more requests come" in text(page, "trouble")
    assert not page.value("document.getElementById('trouble').hidden")  # though the product has come
    for change in (
        lambda: become(page, USERS[0]),
        lambda: page.value("document.getElementById('forget').click()"),
    ):
        change()
        time.sleep(0.5)
        assert "has changed" not in text(page, "status")


def test_a_list_that_did_not_come_comes_by_itself(page: Page, service: Service) -> None:
    """A click, then "Forget", is refused for a while; neither is done again by the visitor."""
    page.screen(1280, 900)
    start(page, service)
    popular, note = page.value(_ITEMS.format("for-you-items")), text(page, "for-you-note")
    page.value(_REFUSES)
    click(page, PLAIN[8])
    assert page.value(_ITEMS.format("for-you-items")) == popular
    page.value("window.refusing = false")
    until(
        page, "document.getElementById('for-you-note').textContent === 'From 1 product you just looked at.'"
    )
    assert "Looks like “Product p08”, which you viewed" in page.value(_REASONS.format("for-you-items"))
    assert page.value("document.getElementById('trouble').hidden")
    page.value("window.refusing = true")
    page.value("document.getElementById('forget').click()")
    until(page, "!document.getElementById('trouble').hidden")
    page.value("window.refusing = false")
    until(page, f"document.getElementById('for-you-note').textContent === {json.dumps(note)}")
    assert page.value(_ITEMS.format("for-you-items")) == popular
    assert page.value("document.getElementById('trouble').hidden")
    assert text(page, "status") == "The list for you has changed."
    assert complaints(page) == []


def test_nothing_moves_under_the_hand_of_who_chooses_a_shopper(page: Page, service: Service) -> None:
    """They are asked for while the choice is open, or are the same: what stands there is left alone."""
    page.screen(1280, 900)
    start(page, service)
    first = "document.getElementById('shopper').firstElementChild"
    again = "document.getElementById('key-form').dispatchEvent(new Event('submit', { cancelable: true }))"
    last = "document.getElementById('shopper').lastElementChild.value"
    page.value(f"{first}.dataset.still = 'here'")
    page.value(_HOLDS % "/v1/users")
    for focus, name in ((True, "another"), (False, page.value(last))):
        page.value(f"document.getElementById('shopper').{'focus' if focus else 'blur'}()")
        page.value(f"{last} = {json.dumps(name)}")  # with other names the choice would be made anew
        asked = page.value("window.release.length")
        page.value(again)
        until(page, f"window.release.length > {asked}")
        page.value("window.release.forEach(done => done())")
        time.sleep(0.5)
        assert page.value(f"{first}.dataset.still") == "here", name


def test_an_answer_that_is_cut_is_told(page: Page, service: Service) -> None:
    page.screen(1280, 900)
    start(page, service)
    page.value("""
{
  const real = window.fetch;
  const cut = { pull(to) { to.enqueue(new TextEncoder().encode('{"total": 3')); to.error(new TypeError("cut")); } };
  window.fetch = (path, options) => String(path).startsWith("/v1/items")
    ? Promise.resolve(new Response(new ReadableStream(cut))) : real(path, options);
}
""")
    page.value("document.getElementById('more').click()")
    until(page, "!document.getElementById('trouble').hidden")
    assert "did not come whole" in text(page, "trouble")
    assert complaints(page) == []
