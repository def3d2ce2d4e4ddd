"""The screenshots of a report in docs/images: its head, a shopper, its figures, the worst cases and the map, at two
widths, light and dark; docs name those that they need. The report is one of a shop that was evaluated twice.

python tests/browser/shots.py work/demo/report.html docs/images
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from devtools import NO_BROWSER, Page, find_chromium
from PIL import Image

HEIGHTS = {1280: 900, 390: 844}
SHOTS = {"head": "body", "why": "#shopper-1", "better": "#quality", "worst": "#worst", "map": "#space"}
"""What each shot begins with: an element of the page."""


def main(report: Path, folder: Path) -> None:
    """Writes ``report-<shot>-<width>-<scheme>.png``."""
    chromium = find_chromium()
    if chromium is None:
        sys.exit(NO_BROWSER)
    with Page(chromium) as page:
        for width, height in HEIGHTS.items():
            for scheme in ("light", "dark"):
                page.screen(width, height, scheme)
                page.events.clear()
                page.open(report)
                for shot, place in SHOTS.items():
                    page.value(f"document.querySelector('{place}').scrollIntoView({{behavior: 'instant'}})")
                    file = folder / f"report-{shot}-{width}-{scheme}.png"
                    page.screenshot(file)
                    smaller(file)


def smaller(file: Path) -> None:
    """Writes a screenshot anew with as many colours as anybody sees."""
    image = Image.open(BytesIO(file.read_bytes())).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(
        file, optimize=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
