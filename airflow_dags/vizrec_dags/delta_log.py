"""What the tables themselves say about a run, read from Delta's log: plain JSON files, so no Spark is needed.

Every stage ends with a commit to table `runs` whose metadata says what it did. A folder is a `pathlib.Path` or anything
like it, such as Airflow's ObjectStoragePath.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"(\d{20})\.json")
# Delta keeps the log of 30 days: some 60 records a day.
_LOOK_BACK = 2_000


@dataclass(frozen=True)
class Record:
    """A stage that came to its end.

    outcome: `done`, or `held` where the gate held a candidate back. tables: by name the version that it left, the rows
    there and the rows that it changed.
    """

    run_id: str
    stage: str
    outcome: str
    seconds: float
    tables: Mapping[str, Mapping[str, int]]
    metrics: Mapping[str, float]
    notes: tuple[str, ...]


def versions(table: Path) -> list[int]:
    """The versions whose commits are in the log, newest first; none where there is no such table."""
    try:
        names = [file.name for file in (table / "_delta_log").iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = (_COMMIT.fullmatch(name) for name in names)
    return sorted((int(match[1]) for match in found if match), reverse=True)


def commit_info(table: Path, version: int) -> dict[str, Any]:
    """Delta's `commitInfo` of a version; empty where the log was cleaned meanwhile or has none."""
    try:
        text = (table / "_delta_log" / f"{version:020d}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    for line in text.splitlines():
        action = json.loads(line)
        if "commitInfo" in action:
            return dict(action["commitInfo"])
    return {}


def records(root: Path) -> Iterator[Record]:
    """The records in table `runs` below `root`, newest first."""
    runs = root / "runs"
    for version in versions(runs)[:_LOOK_BACK]:
        told = json.loads(commit_info(runs, version).get("userMetadata") or "{}")
        if "outcome" in told:  # the commit that made the table has none
            names = ("run_id", "stage", "outcome", "seconds", "tables", "metrics")
            yield Record(*(told[name] for name in names), notes=tuple(told["notes"]))


def record_of(root: Path, run_id: str, stage: str) -> Record | None:
    """What the run's stage committed last, if it came to its end."""
    mine = (one for one in records(root) if (one.run_id, one.stage) == (run_id, stage))
    return next(mine, None)


def undone(root: Path, record: Record) -> str | None:
    """Why a record no longer holds: a table of it is gone, or was taken back since; None where it holds."""
    for name, left in record.tables.items():
        table = root / name
        there = versions(table)
        if not there or there[0] < left["version"]:
            return f"table {name} is not at version {left['version']} any more"
        later = [version for version in there if version > left["version"]]
        if any(commit_info(table, version).get("operation") == "RESTORE" for version in later):
            return f"table {name} was restored after version {left['version']}"
    return None
