"""Which commits are in effect after restores, and which parts of runs have to go together."""

from __future__ import annotations

import pytest

from vizrec_spark.errors import TableError
from vizrec_spark.tables.history import Commit, in_effect
from vizrec_spark.tables.rollback import KEPT, closure, group_of
from vizrec_spark.tables.schemas import ALL_TABLES, ITEM_FACTORS, PROMOTIONS

GROUPS = {"users": "als", "items": "als", "lists": "recommend", "weights": "recommend"}


def made(*commits: tuple[int, str], restores: dict[int, int] | None = None) -> list[Commit]:
    """Commits by version and ``run/stage``, newest first; each a second after the one before."""
    found = []
    for version, who in commits:
        run, _, stage = who.partition("/")
        target = (restores or {}).get(version)
        operation = "WRITE" if target is None else "RESTORE"
        found.append(Commit(version, version * 1000, operation, run, stage, target))
    return sorted(found, key=lambda c: -c.version)


def test_what_a_restore_has_jumped_over_is_not_in_effect() -> None:
    log = made((0, "a/x"), (1, "b/x"), (2, "c/x"), (3, "r/restore"), (4, "d/x"), restores={3: 0})
    assert [c.version for c in in_effect(log)] == [4, 3, 0]
    back = made(*((c.version, "/".join(c.unit)) for c in log), (5, "q/restore"), restores={3: 0, 5: 2})
    assert [c.version for c in in_effect(back)] == [5, 2, 1, 0]  # the restore itself was taken back
    unknown = made((0, "a/x"), (1, "r/restore"), restores={1: -1})  # to a moment: it may be any version
    assert [c.version for c in in_effect(unknown)] == [1]


def test_a_run_goes_alone_where_it_is_the_last() -> None:
    chains = {"users": made((1, "old/als"), (5, "bad/als")), "items": made((2, "old/als"), (6, "bad/als"))}
    takes_back, firsts = closure(chains, GROUPS, {("bad", "als")}, with_later=False)
    assert takes_back == {("bad", "als")}
    assert {name: c.version for name, c in firsts.items()} == {"users": 5, "items": 6}


def test_a_younger_run_in_the_same_table_or_another_of_its_group_is_named() -> None:
    same = {"users": made((1, "bad/als"), (2, "new/als"))}
    with pytest.raises(TableError, match=r"run new \(stage als\) wrote users version 2.*--with-later"):
        closure(same, GROUPS, {("bad", "als")}, with_later=False)
    mate = {"users": made((1, "bad/als")), "items": made((2, "new/promote"))}
    with pytest.raises(TableError, match=r"run new \(stage promote\) wrote items version 2"):
        closure(mate, GROUPS, {("bad", "als")}, with_later=False)
    other = {"users": made((1, "bad/als")), "lists": made((2, "new/recommend"))}
    assert closure(other, GROUPS, {("bad", "als")}, with_later=False)[0] == {("bad", "als")}
    by_hand = {"users": made((1, "bad/als"), (2, "/"))}
    with pytest.raises(TableError, match="a WRITE by hand wrote users version 2"):
        closure(by_hand, GROUPS, {("bad", "als")}, with_later=False)
    assert closure(by_hand, GROUPS, {("bad", "als")}, with_later=True)[1]["users"].version == 1


def test_younger_runs_go_with_all_that_their_stage_wrote_and_what_came_after() -> None:
    chains = {
        "users": made((1, "bad/als"), (3, "new/als")),
        "items": made((4, "new/als"), (5, "newest/als")),
        "lists": made((2, "new/recommend")),
    }
    takes_back, firsts = closure(chains, GROUPS, {("bad", "als")}, with_later=True)
    assert takes_back == {("bad", "als"), ("new", "als"), ("newest", "als")}
    assert {name: c.version for name, c in firsts.items()} == {"users": 1, "items": 4}


def test_a_restore_is_no_younger_write_but_can_be_taken_back() -> None:
    chain = in_effect(made((0, "a/x"), (1, "bad/als"), (2, "worse/als"), (3, "r/restore"), restores={3: 1}))
    assert closure({"users": chain}, GROUPS, {("bad", "als")}, with_later=False)[1]["users"].version == 1
    assert closure({"users": chain}, GROUPS, {("r", "restore")}, with_later=False)[1]["users"].version == 3
    assert closure({"users": chain}, GROUPS, {("worse", "als")}, with_later=False)[1] == {}


def test_every_table_has_a_group_and_promotions_go_with_the_factors() -> None:
    assert group_of(PROMOTIONS) == group_of(ITEM_FACTORS)
    assert {table.name for table in KEPT} < {table.name for table in ALL_TABLES}
