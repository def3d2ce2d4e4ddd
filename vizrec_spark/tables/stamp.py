"""Who writes to the tables, which of a writer's writes it is, and the account of one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stamp:
    """Who wrote a commit; stored as JSON in its user metadata."""

    run_id: str
    stage: str
    config_hash: str


@dataclass(frozen=True)
class Written:
    """One finished write: rows now in the table, and rows that it wrote, or removed where it wrote none."""

    table: str
    location: str
    version: int
    rows: int
    changed: int


@dataclass(frozen=True)
class Once:
    """Names a write among those of one writer: Delta makes it once, however often it is asked for.

    `writer` names who counts, `number` grows from write to write; what is not above the writer's last number in the
    table is passed over.
    """

    writer: str
    number: int
