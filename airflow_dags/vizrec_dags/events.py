"""What asset events tell: the days, the version and the settings in their extras.

An event that was made by hand may tell none of it; then what the run itself has stands for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Extra = Mapping[str, Any]


def extras_of(events: Mapping[Any, Iterable[Any]] | None) -> list[Extra]:
    """The extra of each event that started a run (`triggering_asset_events`); none where a person did."""
    return [event.extra or {} for of_asset in (events or {}).values() for event in of_asset]


def days_in(extras: Sequence[Extra], own: str) -> list[str]:
    """All days that the events are about, in order."""
    days = {day for extra in extras for day in extra.get("days") or [own]}
    return sorted(days or {own})


def version_in(extras: Sequence[Extra]) -> int:
    """The newest version that the events name; -1 where none does."""
    return max((int(extra["version"]) for extra in extras if extra.get("version") is not None), default=-1)


def settings_in(extras: Sequence[Extra], own: Sequence[str]) -> list[list[str]]:
    """`own`, and behind it each distinct list of the events' settings, in an order that does not depend on theirs."""
    lists = {tuple(extra.get("settings") or ()) for extra in extras}
    return [[*own, *settings] for settings in sorted(lists or {()})]
