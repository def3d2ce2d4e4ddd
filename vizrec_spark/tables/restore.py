"""Taking back: tables as they were after a run, before it, or at a version, on top of Delta's RESTORE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vizrec_spark.errors import TableError
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.schemas import (
    ALL_TABLES,
    CATEGORY_NEIGHBORS,
    COMPARED_ITEMS,
    ID_MAP,
    IMAGES,
    INTERACTIONS,
    ITEM_FACTORS,
    ITEM_NEIGHBORS,
    ITEMS,
    METRICS,
    NEAR_DUPLICATES,
    PROMOTIONS,
    QUARANTINE,
    RUNS,
    SIMILARITY_QUALITY,
    USER_FACTORS,
    USERS,
)
from vizrec_spark.tables.store import TableStore, Written

TOGETHER: tuple[tuple[Table, ...], ...] = (
    (ITEMS, INTERACTIONS, USERS, IMAGES, QUARANTINE),
    (ITEM_NEIGHBORS, SIMILARITY_QUALITY, CATEGORY_NEIGHBORS, NEAR_DUPLICATES, COMPARED_ITEMS),
    (USER_FACTORS, ITEM_FACTORS, PROMOTIONS),
)
"""Tables that only make sense as one run left them: one is never taken back without the others."""

KEPT = (ID_MAP, RUNS, METRICS)
"""Tables that are only added to, and hold what later rows rely on or what happened: never taken back."""


@dataclass(frozen=True)
class Change:
    """What a restore would do to one table: from version `now` to `then`, and which commits that undoes.

    undone: of each commit that is taken back, newest first, version, time, run id and stage.
    """

    table: Table
    now: int
    then: int
    rows_now: int
    rows_then: int
    undone: tuple[tuple[int, datetime, str, str], ...]


def plan_restore(
    tables: TableStore,
    name: str,
    *,
    to_version: int | None = None,
    to_run: str | None = None,
    before_run: str | None = None,
) -> list[Change]:
    """What has to change; nothing is written. Tables that stand as wanted are left out. Runs some jobs.

    Exactly one of the three is given. With a run, the tables that belong together (`TOGETHER`) go to one moment: that
    of its last commit to any of them, or the one before its first.

    Raises: TableError for a table that is not known, that is never taken back, or that a version alone would tear from
    others; for a version that is not there; and for a run that has not written it.
    """
    table = _named(name)
    group = next((group for group in TOGETHER if table in group), (table,))
    there = [one for one in group if tables.exists(one)]
    if table not in there:
        raise TableError(
            f"Table {name} does not exist at {tables.location(table)}, so there is nothing to take back."
        )
    histories = {one.name: tables.commits(one, limit=None) for one in there}
    if to_version is not None:
        if len(group) > 1:
            others = ", ".join(one.name for one in group if one is not table)
            raise TableError(
                f"Table {name} belongs together with {others}: name the run with --to-run or --before-run, so that all "
                "of them go back to one moment."
            )
        targets = {table.name: to_version}
    else:
        run = to_run if to_run is not None else before_run
        moments = [
            c["timestamp"] for commits in histories.values() for c in commits if c.get("run_id") == run
        ]
        if not moments:
            known = list(dict.fromkeys(str(c["run_id"]) for c in histories[table.name] if c.get("run_id")))
            raise TableError(
                f"Run {run} has no commit in the history of {name}. The last runs there: {', '.join(known[:5])}."
            )
        targets = {}
        for one in there:
            fit = [
                c["version"]
                for c in histories[one.name]
                if (c["timestamp"] <= max(moments) if to_run is not None else c["timestamp"] < min(moments))
            ]
            if not fit:
                raise TableError(
                    f"Table {one.name} has no version that old: it was made later, or its history was cleaned. Delta "
                    "can go back as far as vacuum and the log have left it."
                )
            targets[one.name] = max(fit)
    return [
        _change(tables, one, targets[one.name], histories[one.name])
        for one in there
        if targets[one.name] != histories[one.name][0]["version"]
    ]


def restore(tables: TableStore, changes: Sequence[Change]) -> list[Written]:
    """Does what was planned, table after table, each in one commit that carries the stamp.

    Raises: TableError when a table was written since the plan was made (nothing is restored then), or a file that the
    old version needs is gone.
    """
    for change in changes:
        if tables.version(change.table) != change.now:
            raise TableError(
                f"Table {change.table.name} was written since this was planned: look at the plan again."
            )
    return [tables.restore(change.table, change.then) for change in changes]


def _named(name: str) -> Table:
    known = {table.name: table for table in ALL_TABLES}
    if name not in known:
        raise TableError(f"There is no table {name}; the tables are {', '.join(known)}.")
    table = known[name]
    if table in KEPT:
        raise TableError(
            f"Table {name} is only ever added to, and later rows rely on it: it is not taken back."
        )
    return table


def _change(tables: TableStore, table: Table, version: int, history: Sequence[dict[str, Any]]) -> Change:
    undone = tuple(
        (c["version"], c["timestamp"], c.get("run_id", ""), c.get("stage", ""))
        for c in history
        if c["version"] > version
    )
    rows = tables.read(table).count(), tables.read_at(table, version).count()
    return Change(table, history[0]["version"], version, *rows, undone)
