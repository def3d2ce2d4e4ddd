"""What the journal of restores means for those who work on the tables: whether one is on, and which have been."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Taken:
    """A restore that was begun: the version of table `restores` that says so, and the run that it is.

    ended: `done` or `abandoned`; None while it is under way. touched: whether a table may have gone to another version,
    be it for a while.
    """

    version: int
    run_id: str
    ended: str | None = None
    touched: bool = True


def taken(said: Iterable[tuple[int, Mapping[str, Any]]]) -> list[Taken]:
    """The restores that a journal tells of, oldest first; one that was planned while another was on counts for nothing.

    said: versions of table `restores` in order, each with what its commit says: `run_id`, `event`, and with `abandoned`
    whether a table was `touched`.
    """
    found: list[Taken] = []
    for version, commit in said:
        event = commit.get("event")
        last = found[-1] if found else None
        on = last is not None and last.ended is None
        if event == "planned" and not on:
            found.append(Taken(version, str(commit["run_id"])))
        elif event in ("done", "abandoned") and on and last is not None and commit["run_id"] == last.run_id:
            touched = event == "done" or bool(commit.get("touched"))
            found[-1] = replace(last, ended=str(event), touched=touched)
    return found


def settled(restores: Iterable[Taken], newest: int) -> int:
    """Up to which version of the journal a run that starts now need not look back.

    newest: the journal's last version. A run that starts while a restore is on does not know what it reads.
    """
    return next((one.version - 1 for one in restores if one.ended is None), newest)


def in_between(restores: Iterable[Taken], since: int, run_id: str) -> Taken | None:
    """The first restore by another run that has begun above version `since` and may have changed what was read."""
    return next(
        (one for one in restores if one.version > since and one.run_id != run_id and one.touched), None
    )
