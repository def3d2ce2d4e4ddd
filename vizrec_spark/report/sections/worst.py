"""The worst cases by metric: users whom the model serves badly, what was offered and what they took instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Row
from pyspark.sql import functions as F

from vizrec_spark.report.model import Answer, Item
from vizrec_spark.report.sections.evaluations import metric_name
from vizrec_spark.report.sections.quality import Quality
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.schemas import WORST_LISTS

CASES = 4
"""Users shown of each metric."""

_KINDS = {
    "ndcg": (
        "Lists that miss",
        "Least of what these users took afterwards stands at the head of their list.",
    ),
    "diversity": ("Lists that are all alike", "The items of these lists look most like each other."),
    "miscalibration": (
        "Lists that are beside the point",
        "The categories of these lists differ most from those that the user went for before.",
    ),
}


@dataclass(frozen=True)
class Case:
    """One user: the metric's value, items known before and met afterwards (`n_known`, `n_relevant`), where the first
    of the latter stands in the list (null: nowhere), what was offered first, and what was met that it does not have."""

    user_id: str
    value: float
    n_known: int
    n_relevant: int
    first_hit: int | None
    offered: tuple[Item, ...]
    missed: tuple[Item, ...]


@dataclass(frozen=True)
class Cases:
    """The worst by one metric, of lists of length `k`."""

    title: str
    text: str
    metric: str
    k: int
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Worst:
    """Section `worst` of one model."""

    model: str | None = None
    kinds: tuple[Cases, ...] = ()
    answer: Answer | None = None

    anchor = "worst"
    label = "Worst cases"
    template = "worst.html.j2"


def read_worst(tables: TableStore, quality: Quality) -> list[Row]:
    """The `CASES` worst lists by each metric of the model that `quality` is about, in its last evaluation. One job."""
    if quality.model is None:
        return []
    run_id = quality.evaluations[0].run_id
    mine = {"run_id": run_id, "protocol": quality.protocol, "model": quality.model}
    rows = tables.read_or_empty(WORST_LISTS).where(F.col("place") <= CASES)
    for name, value in mine.items():
        rows = rows.where(F.col(name) == F.lit(value))
    return rows.collect()


def items_of(rows: Sequence[Row]) -> set[str]:
    """Every item that the rows name."""
    return {item for row in rows for item in (*row.offered, *row.missed)}


def show_worst(rows: Sequence[Row], known: Mapping[str, Item]) -> Worst:
    """The section of rows of table `worst_lists` of one model; `known` has the items of `items_of`."""
    kinds = []
    for name, (title, text) in _KINDS.items():
        mine = sorted((row for row in rows if row.metric.partition("@")[0] == name), key=lambda r: r.place)
        if mine:
            metric = mine[0].metric
            k = int(metric.partition("@")[2])
            cases = tuple(_case(row, k, known) for row in mine)
            kinds.append(Cases(title, text, metric_name(metric), k, cases))
    return Worst(rows[0].model if rows else None, tuple(kinds))


def _case(row: Row, k: int, known: Mapping[str, Item]) -> Case:
    offered, missed = (tuple(known[item] for item in shown) for shown in (row.offered[:k], row.missed))
    return Case(row.user_id, row.value, row.n_known, row.n_relevant, row.first_hit, offered, missed)
