"""What taking back a run means: which tables go to which version, and which younger runs stand in the way.

Tables that one stage writes make sense together only, so what is taken back is the part of a run that one stage wrote,
or several such parts, and never one table of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.history import Commit, history, in_effect
from vizrec_spark.tables.schemas import (
    ALL_TABLES,
    ID_MAP,
    LIVE_EVENTS,
    LIVE_RECOMMENDATIONS,
    METRICS,
    RESTORES,
    RUNS,
    WORST_LISTS,
)
from vizrec_spark.tables.store import TableStore

Unit = tuple[str, str]
"""A run and one of its stages."""

KEPT = (ID_MAP, RUNS, RESTORES, METRICS, WORST_LISTS, LIVE_EVENTS, LIVE_RECOMMENDATIONS)
"""Tables that hold what files and later rows rely on, what happened, or what is soon made anew: never taken back."""

_READ_NOTHING = ("restore", "maintain")
"""Jobs whose outcome does not depend on what the rows say."""

_GROUPS = {"promote": "als"}  # `promotions` names versions of the factors


@dataclass(frozen=True)
class Step:
    """A table that goes from version `now` to what it was at `then`; rows in each; the commits that this undoes."""

    table: Table
    now: int
    then: int
    rows_now: int
    rows_then: int
    undone: tuple[Commit, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a restore would do.

    asked: the run that it is about. takes_back: its stages, and with `with_later` those of younger runs. read_since:
    other stages that came to their end since, and may have read what is taken back.
    """

    asked: str
    takes_back: tuple[Unit, ...]
    steps: tuple[Step, ...]
    read_since: tuple[Unit, ...] = ()

    def does_as(self, other: Plan) -> bool:
        """Whether both take back the same, from and to the same versions."""
        mine, others = ([(s.table.name, s.now, s.then) for s in plan.steps] for plan in (self, other))
        return self.takes_back == other.takes_back and mine == others


def plan_restore(
    tables: TableStore, run_id: str, stages: Sequence[str] = (), with_later: bool = False
) -> Plan:
    """What has to change so that the tables are as before the run, or before those of its `stages`; writes nothing.

    Runs a few small jobs. Tables of `KEPT` stay as they are. Raises: TableError where the run is not known, a younger
    run has written to these tables or to others of their groups (unless `with_later`), a table has no version from
    before, or files of that version are gone.
    """
    logs = _logs(tables)
    return _plan(tables, logs, run_id, _parts(tables, logs, run_id, stages), with_later)


def plan_anew(tables: TableStore, plan: Plan) -> Plan:
    """What taking back the same would mean now. Raises: TableError as `plan_restore`, other than for younger runs."""
    return _plan(tables, _logs(tables), plan.asked, set(plan.takes_back), with_later=True)


def _logs(tables: TableStore) -> dict[str, list[Commit]]:
    there = [table for table in ALL_TABLES if table not in KEPT and tables.exists(table)]
    return {table.name: history(tables, table) for table in there}


def _plan(
    tables: TableStore,
    logs: Mapping[str, Sequence[Commit]],
    run_id: str,
    wanted: set[Unit],
    with_later: bool,
) -> Plan:
    there = [table for table in ALL_TABLES if table.name in logs]
    chains = {name: [c for c in in_effect(log) if c.writes] for name, log in logs.items()}
    takes_back, firsts = closure(chains, {t.name: group_of(t) for t in there}, wanted, with_later)
    steps = []
    for table in there:
        first = firsts.get(table.name)
        if first is not None:
            steps.append(_step(tables, table, first, logs[table.name][0].version, chains[table.name]))
    _require_files(tables, steps)
    since = min((step.undone[-1].at for step in steps), default=None)
    read = () if since is None else _ended_since(tables, since, takes_back)
    return Plan(run_id, tuple(sorted(takes_back)), tuple(steps), read)


def _ended_since(tables: TableStore, since: int, takes_back: set[Unit]) -> tuple[Unit, ...]:
    """Runs and stages with a record younger than `since` (milliseconds), oldest first, that stay as they are."""
    ended = tables.read_or_empty(RUNS).where(F.col("finished_at") >= F.timestamp_millis(F.lit(since)))
    rows = (
        ended.where(~F.col("stage").isin(*_READ_NOTHING))
        .orderBy("finished_at")
        .select("run_id", "stage")
        .collect()
    )
    return tuple(dict.fromkeys((r.run_id, r.stage) for r in rows if (r.run_id, r.stage) not in takes_back))


def group_of(table: Table) -> str:
    """The name of the group of tables that make sense together only: that of the stage which writes them."""
    return _GROUPS.get(table.writer, table.writer)


def closure(
    chains: Mapping[str, Sequence[Commit]], groups: Mapping[str, str], wanted: set[Unit], with_later: bool
) -> tuple[set[Unit], dict[str, Commit]]:
    """The parts of runs that have to go with those `wanted`, and by table the oldest commit that goes.

    chains: by table the commits in effect, newest first. Raises: TableError where a younger one would have to go and
    `with_later` is not set.
    """
    takes_back = set(wanted)
    while True:
        mine = {name: [c for c in chain if c.unit in takes_back] for name, chain in chains.items()}
        firsts = {name: found[-1] for name, found in mine.items() if found}
        later = {
            (name, c.version): c
            for name, c in _later(chains, groups, firsts)
            if c.unit not in takes_back and c.restored_to is None
        }
        new = {c.unit for c in later.values() if c.run_id}
        if not later or (with_later and not new):
            return takes_back, firsts
        if not with_later:
            raise TableError(_in_the_way(later))
        takes_back |= new


def _later(
    chains: Mapping[str, Sequence[Commit]], groups: Mapping[str, str], firsts: Mapping[str, Commit]
) -> Iterator[tuple[str, Commit]]:
    """Commits that are younger than the oldest that goes: of the same table, or by time of another in its group."""
    begun: dict[str, int] = {}
    for name, first in firsts.items():
        begun[groups[name]] = min(first.at, begun.get(groups[name], first.at))
    for name, chain in chains.items():
        for commit in chain:
            if name in firsts:
                if commit.version > firsts[name].version:
                    yield name, commit
            elif groups[name] in begun and commit.at > begun[groups[name]]:
                yield name, commit


def _in_the_way(later: Mapping[tuple[str, int], Commit]) -> str:
    by: dict[str, list[str]] = {}
    for (name, version), commit in sorted(later.items()):
        by.setdefault(commit.author, []).append(f"{name} version {version}")
    told = "; ".join(f"{who} wrote {', '.join(what)}" for who, what in by.items())
    return (
        f"Younger writes stand on what would be taken back: {told}. Nothing was changed. Take those back first, or "
        "all together with --with-later."
    )


def _parts(
    tables: TableStore, logs: Mapping[str, Sequence[Commit]], run_id: str, stages: Sequence[str]
) -> set[Unit]:
    """The run's stages, or those of them that are wanted. Raises: TableError where there are none."""
    known = {c.unit for log in logs.values() for c in log if c.run_id}
    recorded = tables.read_or_empty(RUNS).where(F.col("run_id") == run_id).select("stage").distinct()
    known |= {(run_id, row.stage) for row in recorded.collect()}
    mine = sorted(stage for run, stage in known if run == run_id)
    if not mine:
        newest = sorted((c for log in logs.values() for c in log if c.run_id), key=lambda c: -c.at)
        runs = list(dict.fromkeys(c.run_id for c in newest))[:5]
        raise TableError(
            f"Run {run_id} has written nothing here. The last runs: {', '.join(runs) or 'none'}."
        )
    unknown = sorted(set(stages) - set(mine))
    if unknown:
        raise TableError(f"Run {run_id} has no stage {', '.join(unknown)}; it has {', '.join(mine)}.")
    return {(run_id, stage) for stage in (stages or mine)}


def _step(tables: TableStore, table: Table, first: Commit, now: int, chain: Sequence[Commit]) -> Step:
    then = first.version - 1
    if then < 0:
        raise TableError(
            f"Table {table.name} at {tables.location(table)} was made by run {first.run_id} as a copy of a table of "
            "another place, so nothing was there before. Nothing was changed. Remove its folder, and let the job that "
            "made it make it anew."
        )
    undone = tuple(c for c in chain if c.version >= first.version)
    return Step(table, now, then, tables.rows_at(table, now), tables.rows_at(table, then), undone)


def _require_files(tables: TableStore, steps: Sequence[Step]) -> None:
    """Raises: TableError naming every table that cannot go back."""
    faults = []
    for step in steps:
        gone = tables.files_gone(step.table, step.then)
        if gone:
            faults.append(
                f"{step.table.name} misses {len(gone)} files of version {step.then}, first {gone[0]}"
            )
    if faults:
        raise TableError(
            f"{'; '.join(faults)}. A VACUUM has removed them, so this run cannot be taken back. Nothing was changed: "
            "run the stages anew on good input instead."
        )
