"""Plots as SVG in the page: in its colours, with text that can be selected and marks that differ in shape.

They are narrow, so that a phone shows them at the size of its text and a desk several side by side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from threading import Lock
from typing import Literal

from markupsafe import Markup

WIDTH = 4.6
"""Inches of 72 units, at which text of 10 units reads like the page's own."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
"""Shape of each series, before its colour."""

LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")

# Colours that stand for variables of the page's style sheet.
_INK, _SOFT, _RULE = "#010101", "#020202", "#030303"
_SERIES = ("#040401", "#040402", "#040403", "#040404")
_VARIABLES = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _RULE: "var(--line)",
    **{colour: f"var(--c{i})" for i, colour in enumerate(_SERIES)},
}
_ROW = 0.47
_DRAWING = Lock()  # matplotlib's settings are those of the whole process
_ACROSS = 52  # letters of a row


@dataclass(frozen=True)
class Mark:
    """A value with its interval (null ends: none), of the `series` whose shape and colour it has."""

    label: str
    value: float
    lo: float | None = None
    hi: float | None = None
    series: int = 0


def between(lo: float | None, hi: float | None, sign: str = "") -> str:
    """``[0.1000, 0.2000]``, an interval as the tables below plots have it; `sign`: "+" to write the sign always."""
    return "–" if lo is None or hi is None else f"[{lo:{sign}.4f}, {hi:{sign}.4f}]"


def intervals(name: str, marks: Sequence[Mark], *, line: float | None = None, digits: int = 3) -> Markup:
    """A row a mark: label, value in figures, and below them the interval; `line`: a vertical line to compare with.

    name: begins the ids in the SVG, so that no two plots of a page share one.
    """
    figure, axes = _figure(len(marks) * _ROW + 0.42)
    for place, mark in enumerate(marks):
        y = -place
        shape, colour = MARKERS[mark.series % len(MARKERS)], _SERIES[mark.series % len(_SERIES)]
        if mark.lo is not None and mark.hi is not None:
            axes.plot([mark.lo, mark.hi], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
            for end in (mark.lo, mark.hi):
                axes.plot([end, end], [y - 0.12, y + 0.12], color=colour, linewidth=1.4)
        axes.plot([mark.value], [y], marker=shape, markersize=7, color=colour, markeredgecolor=colour)
        told = f"{mark.value:.{digits}f}"
        if mark.lo is not None and mark.hi is not None:
            told += f"  [{mark.lo:.{digits}f}, {mark.hi:.{digits}f}]"
        across = axes.get_yaxis_transform()
        axes.text(
            0,
            y + 0.42,
            _short(mark.label, _ACROSS - len(told)),
            transform=across,
            va="center",
            color=_INK,
            **_TEXT,
        )
        axes.text(1, y + 0.42, told, transform=across, va="center", ha="right", color=_SOFT, **_TEXT)
    if line is not None:  # beside the marks alone: above them stands their text
        places = [-place for place in range(len(marks))]
        low, high = [y - 0.3 for y in places], [y + 0.2 for y in places]
        axes.vlines(
            [line] * len(marks), low, high, color=_SOFT, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0
        )
    axes.set_ylim(-len(marks) + 0.5, 0.75)
    axes.set_yticks([])
    axes.margins(x=0.04)
    return _svg(figure, name)


def grouped(name: str, groups: Sequence[tuple[str, Sequence[Mark]]], series: Sequence[str]) -> Markup:
    """A row a group with the marks of several series beneath each other, which the legend names by shape."""
    rows = [(label, marks) for label, marks in groups if marks]
    lines = -(-len(series) // 2)
    units = sum(0.75 + 0.5 * len(marks) for _, marks in rows)
    figure, axes = _figure(units * 0.36 + 0.42 + 0.24 * lines)
    y = 0.0
    for label, marks in rows:
        axes.text(
            0,
            y,
            _short(label),
            transform=axes.get_yaxis_transform(),
            va="center",
            color=_INK,
            fontweight="bold",
            **_TEXT,
        )
        y -= 0.62
        for mark in marks:
            shape, colour = MARKERS[mark.series % len(MARKERS)], _SERIES[mark.series % len(_SERIES)]
            if mark.lo is not None and mark.hi is not None:
                axes.plot([mark.lo, mark.hi], [y, y], color=colour, linewidth=2)
            axes.plot([mark.value], [y], marker=shape, markersize=6.5, color=colour)
            y -= 0.5
        y -= 0.13
    axes.set_ylim(y + 0.3, 0.4)
    axes.set_yticks([])
    axes.margins(x=0.04)
    _legend(axes, series, lines=False)
    return _svg(figure, name)


def over_time(name: str, dates: Sequence[str], series: Sequence[tuple[str, Sequence[Mark | None]]]) -> Markup:
    """A line a series over the evaluations, oldest first; a null where a series was not measured."""
    figure, axes = _figure(2.5 + 0.24 * -(-len(series) // 2), left=0.5)
    for i, (_, marks) in enumerate(series):
        shape, colour, line = MARKERS[i % len(MARKERS)], _SERIES[i % len(_SERIES)], LINES[i % len(LINES)]
        at = [(x + 0.06 * (i - (len(series) - 1) / 2), m) for x, m in enumerate(marks) if m is not None]
        axes.plot(
            [x for x, _ in at],
            [m.value for _, m in at],
            color=colour,
            linestyle=line,
            marker=shape,
            markersize=6.5,
        )
        for x, m in at:
            if m.lo is not None and m.hi is not None:
                axes.plot([x, x], [m.lo, m.hi], color=colour, linewidth=1.4)
    shown = range(0, len(dates), max(1, -(-len(dates) // 5)))
    axes.set_xticks(list(shown), [dates[i] for i in shown], parse_math=False)
    axes.margins(x=0.08, y=0.12)
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    _legend(axes, [label for label, _ in series], lines=True)
    return _svg(figure, name)


def bars(name: str, labels: Sequence[str], counts: Sequence[int]) -> Markup:
    """An upright bar a label, with its count above it."""
    figure, axes = _figure(2.2)
    axes.bar(range(len(counts)), counts, width=0.7, color=_SERIES[0], edgecolor=_INK, linewidth=0.6)
    for x, count in enumerate(counts):
        axes.text(x, count, f"{count:,}", ha="center", va="bottom", color=_INK, **_TEXT)
    # As many labels as have room beside each other, at 5.6 points a letter.
    room = 72 * (WIDTH - 0.25) / max(1, len(labels))
    every = max(1, ceil((max(map(len, labels), default=0) + 1) * 5.6 / room))
    shown = range(0, len(labels), every)
    axes.set_xticks(list(shown), [labels[i] for i in shown], parse_math=False)
    axes.set_yticks([])
    axes.margins(x=0.02, y=0.15)
    return _svg(figure, name)


_TEXT = {"fontsize": 10, "parse_math": False}


def _figure(height: float, left: float = 0.1):  # type: ignore[no-untyped-def]
    """A figure and its only axes, without a frame; `left`: inches beside it."""
    from matplotlib.figure import Figure  # a second to import: who draws nothing does not pay for it

    figure = Figure(figsize=(WIDTH, height), facecolor="none")
    axes = figure.add_axes(
        (left / WIDTH, 0.3 / height, 1 - (left + 0.15) / WIDTH, 1 - 0.34 / height), facecolor="none"
    )
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.tick_params(colors=_SOFT, labelsize=9.5, length=3)
    axes.xaxis.set_major_locator(_ticks())
    return figure, axes


def _ticks():  # type: ignore[no-untyped-def]
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def _legend(axes, series: Sequence[str], *, lines: bool) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.lines import Line2D

    keys = [
        Line2D(
            [],
            [],
            marker=MARKERS[i % len(MARKERS)],
            color=_SERIES[i % len(_SERIES)],
            linestyle=LINES[i % len(LINES)] if lines else " ",
            label=label,
        )
        for i, label in enumerate(_short(one, 24) for one in series)
    ]
    box = axes.legend(
        handles=keys,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        fontsize=10,
        borderpad=0,
        labelcolor=_INK,
    )
    for text in box.get_texts():
        text.set_parse_math(False)
    # The axes make room for it.
    left, bottom, width, height = axes.get_position().bounds
    rows = -(-len(series) // 2)
    axes.set_position((left, bottom, width, height - 0.24 * rows / axes.figure.get_figheight()))


def _short(text: str, longest: int = _ACROSS) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def _svg(figure, name: str) -> Markup:  # type: ignore[no-untyped-def]
    from io import StringIO

    from matplotlib import rc_context

    out = StringIO()
    with _DRAWING, rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "DejaVu Sans"}):
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    head, tag, rest = svg.partition(">")
    head = re.sub(r' (?:width|height|version|xmlns(?::xlink)?)="[^"]*"', "", head)
    svg = f'{head} class="plot" aria-hidden="true" focusable="false"{tag}{rest}'
    # In tags alone: between them stands text of the data.
    return Markup(re.sub(r"<[^>]*>", lambda tag: _styled(tag[0], name), svg.strip()))


def _styled(tag: str, name: str) -> str:
    """The tag with ids of the plot of this name, and with the page's font and colours."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="|url\()#', rf"\1#{name}-", tag).replace("xlink:href", "href")
    tag = re.sub(r"font-family: 'DejaVu[^;\"]*", "font-family: var(--font)", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, variable)
    return tag
