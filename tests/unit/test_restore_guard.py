"""Whom a restore keeps from writing: those that were on while it was, and nobody for one that changed nothing."""

from __future__ import annotations

import pytest

from vizrec_spark.tables.guard import in_between, settled, taken


def journal(*events: str) -> list[tuple[int, dict[str, object]]]:
    """Commits ``run event``; the first made the table."""
    told: list[tuple[int, dict[str, object]]] = [(0, {})]
    for version, text in enumerate(events, start=1):
        run_id, event, *rest = text.split()
        told.append((version, {"run_id": run_id, "event": event, "touched": rest == ["touched"]}))
    return told


@pytest.mark.parametrize(
    ("events", "since", "stopped_by"),
    [
        (["r planned", "r done"], 0, "r"),
        (["r planned", "r done"], 2, None),
        (["r planned"], 0, "r"),
        (["r planned", "r abandoned"], 0, None),
        (["r planned", "r abandoned touched"], 0, "r"),
        (["me planned", "me done"], 0, None),
        (["me planned", "slower planned", "me done"], 0, None),  # the second counted for nothing
        (["r planned", "r done", "q planned", "q done"], 2, "q"),
    ],
)
def test_who_was_on_meanwhile_is_stopped(events: list[str], since: int, stopped_by: str | None) -> None:
    found = in_between(taken(journal(*events)), since, "me")
    assert (found and found.run_id) == stopped_by


def test_who_starts_during_a_restore_is_stopped_after_it_too() -> None:
    assert settled(taken(journal("r planned", "r done")), 2) == 2
    assert settled(taken(journal("r planned", "r done", "q planned")), 3) == 2
    assert settled([], -1) == -1
