"""How well look-alikes are found: recall with its interval, and how evenly the buckets of the search are filled."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Row
from pyspark.sql import functions as F

from vizrec_spark.report.model import Answer, Chart
from vizrec_spark.report.plots import Mark, bars, intervals
from vizrec_spark.stage import StageContext
from vizrec_spark.tables.schemas import SIMILARITY_QUALITY


@dataclass(frozen=True)
class Search:
    """Section `search`; `quality` is the row of table `similarity_quality`, null where nobody has searched."""

    quality: Row | None = None
    told: str = ""
    charts: tuple[Chart, ...] = ()
    answer: Answer | None = None

    anchor = "search"
    label = "Search"
    template = "search.html.j2"


def read_search(context: StageContext, encoder_id: str | None) -> Search:
    """The section of one encoder; reads one row."""
    of = F.col("encoder_id") == F.lit(encoder_id)
    row = context.tables.read_or_empty(SIMILARITY_QUALITY).where(of).first()
    return Search() if row is None else show_search(row)


def show_search(row: Row) -> Search:
    """The section of a row of table `similarity_quality`."""
    if row.method == "exact":
        return Search(row, f"All pairs of {row.n_items:,} items were compared, so no look-alike is missed.")
    if not row.n_queries:
        return Search(row, "Recall is not measured: no item was left to measure it on.")
    told = (
        f"Of {row.n_items:,} items each was compared with {row.candidates_per_item:,.0f} others on average "
        f"({row.method}: {row.setting})."
    )
    charts = [
        Chart(
            f"Recall of the {row.k} nearest",
            f"Share of the truly nearest that the search finds, on {row.n_queries:,} items drawn by lot. "
            "Dashed: what was asked for.",
            intervals(
                "recall", [Mark("found", row.recall, row.recall_lo, row.recall_hi)], line=row.target_recall
            ),
            ("Recall", "95 % interval", "Asked for", "Items drawn"),
            (
                (
                    f"{row.recall:.4f}",
                    f"[{row.recall_lo:.4f}, {row.recall_hi:.4f}]",
                    f"{row.target_recall:.2f}",
                    f"{row.n_queries:,}",
                ),
            ),
        )
    ]
    histogram = list(row.bucket_histogram)
    if row.n_buckets > 1 and sum(histogram):
        first = next(i for i, n in enumerate(histogram) if n)
        sizes = [_sizes(i) for i in range(first, len(histogram))]
        skew = (
            f"An item's bucket is {row.bucket_skew:.1f} times the mean bucket; the largest holds "
            f"{row.max_bucket_share:.1%} of the items."
        )
        charts.append(
            Chart(
                "Buckets by their size",
                f"{skew} Even buckets make even tasks.",
                bars("buckets", sizes, histogram[first:]),
                ("Items in a bucket", "Buckets"),
                tuple((size, f"{n:,}") for size, n in zip(sizes, histogram[first:], strict=True)),
            )
        )
    return Search(row, told, tuple(charts))


def _sizes(power: int) -> str:
    low, high = 2**power, 2 ** (power + 1) - 1
    return str(low) if low == high else f"{low}–{high}"
