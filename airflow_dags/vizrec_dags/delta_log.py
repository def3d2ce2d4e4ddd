"""What the tables themselves say about a run, read from Delta's log: plain JSON files, so no Spark is needed.

Every stage ends with a commit to table `runs` whose metadata says what it did. A folder is a `pathlib.Path` or anything
like it, such as Airflow's ObjectStoragePath.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"(\d{20})\.json")


@dataclass(frozen=True)
class Record:
    """A stage that came to its end.

    outcome: `done`, or `held` where the gate held a candidate back. encoder: `embed.encoder` of its configuration.
    tables: by name the version that it left, the rows there and the rows that it changed.
    """

    run_id: str
    stage: str
    outcome: str
    seconds: float
    encoder: str
    tables: Mapping[str, Mapping[str, int]]
    metrics: Mapping[str, float]
    notes: tuple[str, ...]


def versions(table: Path) -> list[int]:
    """The versions whose commits are in the log, newest first; none where there is no such table."""
    # An object store's listing is kept by fsspec, and a commit of a moment ago is not in it. ObjectStoragePath lists by
    # what it wraps: without a connection that may be another file system than the one of its own.
    store = getattr(getattr(table, "__wrapped__", table), "fs", None)
    if store is not None:
        store.invalidate_cache()
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


def records(root: Path, since: datetime | None = None) -> Iterator[Record]:
    """The records in table `runs` below `root`, newest first, without those that are older than `since`.

    Those that a later `vizrec restore` has taken back are left out, unless that restore was taken back itself; so are
    those that say themselves that they are `partial`: what was left out has still to be done.
    Each is one file to be read, so say `since` wherever it is known.
    """
    runs = root / "runs"
    taken_back: set[tuple[str, str]] = set()
    oldest = 0.0 if since is None else since.timestamp() * 1000
    for version in versions(runs):
        info = commit_info(runs, version)
        if info.get("timestamp", oldest) < oldest:
            return
        told = _told(info)
        if "outcome" in told:  # others are the commit that made the table, and upkeep
            if (told["run_id"], told["stage"]) in taken_back:
                continue
            taken_back |= {(unit[0], unit[1]) for unit in told.get("takes_back", ())}
            if told.get("partial"):
                continue
            names = ("run_id", "stage", "outcome", "seconds", "encoder", "tables", "metrics")
            yield Record(*(told[name] for name in names), notes=tuple(told["notes"]))


def _told(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a stage has told beside its commit; nothing where somebody else made it."""
    try:
        told = json.loads(info.get("userMetadata") or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def record_of(root: Path, run_id: str, stage: str, since: datetime | None = None) -> Record | None:
    """What the run's stage committed last, if it came to its end; not looked for before `since`."""
    mine = (one for one in records(root, since) if (one.run_id, one.stage) == (run_id, stage))
    return next(mine, None)


def records_around(
    root: Path, run_id: str, stage: str, behind: int, since: datetime | None = None
) -> Iterator[Record]:
    """Newest first: the records that came after that of a run's stage, that one, and up to `behind` older ones.

    All of them (as far back as `since`) where the run's stage has none.
    """
    left: int | None = None
    for one in records(root, since):
        yield one
        if left is not None:
            left -= 1
        elif (one.run_id, one.stage) == (run_id, stage):
            left = behind
        if left == 0:
            return


def holding(root: Path, found: Iterable[Record]) -> Iterator[Record]:
    """Those of some records that hold; each is looked at when it is asked for."""
    return (one for one in found if undone(root, one) is None)


def day_loaded(root: Path, day_of: Callable[[str], str | None], since: datetime) -> str | None:
    """The day whose files the tables hold: that of the last stage `ingest` that holds.

    Only runs that are about a day count. Each record back to that one is read, which is some days' at most where days
    are loaded daily. None where there is no such stage back to `since`.
    day_of: the day that a run is about, by its id.
    """
    ingests = (
        one for one in records(root, since) if one.stage == "ingest" and day_of(one.run_id) is not None
    )
    last = next(holding(root, ingests), None)
    return None if last is None else day_of(last.run_id)


def pictures_seen(root: Path, near: Sequence[Record], encoder: str, wanted: int) -> bool:
    """Whether one of some records says that stage `embed` has been through version `wanted` of `images`, and holds."""
    embeds = (one for one in near if one.stage == "embed" and one.encoder == encoder)
    return any(holding(root, (one for one in embeds if int(one.metrics["images_version"]) >= wanted)))


def standing(root: Path, run_id: str, stage: str, since: datetime | None = None) -> Record | None:
    """The record of a run's stage, if there is one and it holds."""
    record = record_of(root, run_id, stage, since)
    if record is None:
        return None
    reason = undone(root, record)
    if reason is None:
        return record
    log.warning("The record of run %s of %s does not stand: %s", run_id, stage, reason)
    return None


def undone(root: Path, record: Record) -> str | None:
    """Why a record no longer holds: a table of it is gone, or was taken back since; None where it holds."""
    for name, left in record.tables.items():
        table = root / name
        there = versions(table)
        if not there or there[0] < left["version"]:
            return f"table {name} is not at version {left['version']} any more"
        if not _descends(table, there, left["version"]):
            return f"table {name} was restored to before version {left['version']}"
    return None


def _descends(table: Path, there: list[int], version: int) -> bool:
    """Whether the table's last version came of `version`: a RESTORE goes on from the version that it names."""
    bound = there[0]
    for later in there:
        if later <= version:
            break
        if later > bound:  # was taken back
            continue
        info = commit_info(table, later)
        if info.get("operation") == "RESTORE":
            target = str(info.get("operationParameters", {}).get("version"))
            bound = int(target) if target.isdigit() else -1  # to a moment, which may be any
        if bound < version:
            return False
    return True
