"""What has moved between the last run of each stage and the one before it. Plain numbers in, plain numbers out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from vizrec_spark.report.model import PARTS, SHOWN_AS

LOST_LOOK, LOST_BAD, GROWN = 0.10, 0.50, 0.50
"""A table that has lost more than a tenth of its rows, or has grown by more than half, is to be looked at; one that has
lost half is wrong."""

SHARE, COSINE, REFUSED = 0.10, 0.05, 0.02
"""A part of the score may lead ten points more or fewer offers, the mean cosine move by 0.05, the refused share by two
points."""

TABLES = {
    "ingest": ("items", "users", "images", "interactions", "quarantine"),
    "embed": ("embeddings",),
    "similar": ("item_neighbors",),
    "recommend": ("recommendations",),
}
"""The tables whose rows are compared, by stage."""

_FROM = "from_"
_REFUSED = "_refused_share"

Told = tuple[Mapping[str, int], Mapping[str, float]]
"""Of one run of a stage: rows by table, and figures by name."""


@dataclass(frozen=True)
class Moved:
    """A figure of the run before and of the last: as texts, with the change, how good that is, and a sentence."""

    name: str
    before: str
    now: str
    change: str
    level: str
    sentence: str


def drift(latest: Mapping[str, Told], before: Mapping[str, Told]) -> list[Moved]:
    """Every figure that both runs of a stage have."""
    found: list[Moved] = []
    for stage, tables in TABLES.items():
        if stage not in latest or stage not in before:
            continue
        now, then = latest[stage], before[stage]
        found += [_rows(t, then[0][t], now[0][t]) for t in tables if t in now[0] and t in then[0]]
    found += _sources(*(_metrics(side, "recommend") for side in (before, latest)))
    was, now_at = (_metrics(side, "similar").get("mean_cosine") for side in (before, latest))
    if was is not None and now_at is not None:
        told = f"The mean cosine of two items went from {was:.3f} to {now_at:.3f}: other pictures, or another encoder."
        found.append(
            _moved(
                "mean cosine of two items",
                was,
                now_at,
                f"{was:.3f}",
                f"{now_at:.3f}",
                f"{now_at - was:+.3f}",
                COSINE,
                told,
            )
        )
    then_ingest, now_ingest = (_metrics(side, "ingest") for side in (before, latest))
    for name in sorted(n for n in now_ingest if n.endswith(_REFUSED) and n in then_ingest):
        found.append(
            _share(f"refused of {name.removesuffix(_REFUSED)}", then_ingest[name], now_ingest[name], REFUSED)
        )
    return found


def _metrics(side: Mapping[str, Told], stage: str) -> Mapping[str, float]:
    return side[stage][1] if stage in side else {}


def _rows(table: str, was: int, now: int) -> Moved:
    lost = (was - now) / was if was else 0.0
    level = "good"
    if table != "quarantine":  # which is judged by its share of the input
        level = "bad" if lost > LOST_BAD else "look" if lost > LOST_LOOK or -lost > GROWN else "good"
    went = f"has lost {lost:.0%} of its rows" if lost > 0 else f"has grown by {-lost:.0%}"
    told = f"Table {table} {went}: {was:,} before, {now:,} now."
    change = f"{(now - was) / was:+.1%}" if was else ("new" if now else "0.0%")
    return Moved(f"rows of {table}", f"{was:,}", f"{now:,}", change, level, told)


def _sources(before: Mapping[str, float], now: Mapping[str, float]) -> list[Moved]:
    """Shares of the recommendations by the part of the score that leads them, named as the page names it."""
    was, at = _by_part(before), _by_part(now)
    was_all, now_all = sum(was.values()), sum(at.values())
    if not was_all or not now_all:
        return []
    return [
        _share(f"offers led by {part}", was.get(part, 0) / was_all, at.get(part, 0) / now_all, SHARE)
        for part in sorted({*was, *at})
    ]


def _by_part(metrics: Mapping[str, float]) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    for name, count in metrics.items():
        if name.startswith(_FROM):
            source = name.removeprefix(_FROM)
            shown = SHOWN_AS.get(source, source)
            counts[PARTS.get(shown, shown).lower()] += count
    return counts


def _share(name: str, was: float, now: float, bound: float) -> Moved:
    told = f"The share of {name} went from {was:.1%} to {now:.1%}."
    return _moved(name, was, now, f"{was:.1%}", f"{now:.1%}", f"{100 * (now - was):+.1f} points", bound, told)


def _moved(
    name: str, was: float, now: float, was_text: str, now_text: str, change: str, bound: float, told: str
) -> Moved:
    return Moved(name, was_text, now_text, change, "look" if abs(now - was) > bound else "good", told)
