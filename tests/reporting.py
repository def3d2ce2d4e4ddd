"""Rows and sections of the report, for the tests of what it says and how it looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import Row

from tests.similarity import quality
from vizrec_spark.config.models import EvaluateConfig
from vizrec_spark.imaging import Thumbnail
from vizrec_spark.report.model import Item, Section
from vizrec_spark.report.sections.drift import Moved
from vizrec_spark.report.sections.evaluations import QualityRows
from vizrec_spark.report.sections.findings import Finding
from vizrec_spark.report.sections.health import Health
from vizrec_spark.report.sections.quality import Quality, show_quality
from vizrec_spark.report.sections.refused import Refusals, Refused, Sample
from vizrec_spark.report.sections.runs import Ran
from vizrec_spark.report.sections.search import show_search
from vizrec_spark.report.sections.space import SpaceRows, show_space
from vizrec_spark.report.sections.weights import show_weights
from vizrec_spark.report.sections.worst import show_worst

NOON = datetime(2025, 6, 30, 12, tzinfo=UTC)


def ran(stage: str, hour: float = 0, outcome: str = "done", run: str = "r", **metrics: float) -> Ran:
    return Ran(run, stage, NOON + timedelta(hours=hour), outcome, 1.0, 0, {}, metrics)


def shown(
    rows: list[Row], ended: dict[str, float], candidate: str | None = None, protocol: str = "user_time"
) -> Quality:
    """The section; `candidate`, where there is one, is held against what the gate asks of it."""
    gate = {"candidate": candidate, "minimum": 0.0} if candidate is not None else {}
    models = {candidate: "lists", "old": "lists"} if candidate is not None else {}
    given = {"gate": gate, "models": models, "protocol": protocol}
    return show_quality(QualityRows(rows, ended), EvaluateConfig.model_validate(given))


AT = NOON.timestamp()
DAY = 86_400


def measured(run: str, model: str, value: float, half: float = 0.01, **more: Any) -> Row:
    given = {
        "run_id": run,
        "protocol": "user_time",
        "slice": "all",
        "model": model,
        "metric": "ndcg@10",
        "value": value,
        "lo": value - half,
        "hi": value + half,
        "n_users": 90,
        **dict.fromkeys(("reference", "difference", "n_both", "difference_lo", "difference_hi", "p_value")),
    }
    return Row(**(given | more))


def less(reference: str, difference: float, half: float) -> dict[str, Any]:
    ends = {"difference_lo": difference - half, "difference_hi": difference + half}
    return {"reference": reference, "difference": difference, **ends, "n_both": 90, "p_value": 0.01}


def worst(metric: str, place: int, items: list[str], **more: Any) -> Row:
    """A row of table `worst_lists`: the first eight of `items` were offered, the others taken."""
    given = {"run_id": "now", "protocol": "user_time", "model": "hybrid", "metric": metric, "place": place}
    given |= {
        "user_id": f"user{place}" * 9,
        "value": 0.0,
        "n_known": 1,
        "n_relevant": 12_345,
        "first_hit": None,
    }
    return Row(**(given | {"offered": items[:8], "missed": items[8:]} | more))


def sections(items: list[Item], picture: Thumbnail) -> tuple[Section, ...]:
    """Every section with something in each of its parts, and long words in many; `items`: ten with pictures."""
    health = Health(
        (
            Finding("bad", "Stage als", "Stage als has never come to its end here: run `vizrec als`."),
            Finding(
                "look", "Input " + "x" * 60, "12.0% of the input images was refused; the reasons stand below."
            ),
            Finding("good", "Users", "Every one of 1,000,000 users has offers."),
        ),
        (ran("similar", recall=0.987, searched=12009.0), ran("evaluate", 1, "held")),
        (
            Moved("rows of items", "100", "89", "-11.0%", "look", "Table items has lost 11% of its rows."),
            Moved("offers led by als", "50.0%", "51.0%", "+1.0 points", "good", ""),
        ),
        Refusals(
            (Refused("interactions", "unknown_item", 12_345), Refused("images", "decompression_bomb" * 4, 1))
        ),
        (
            Sample("a.jpg", "unknown_item", True, picture),
            Sample("b.jpg", "truncated" * 3, True),
            Sample("c.jpg", "missing_file", False),
        ),
    )
    models = ("hybrid", "popularity", "a_model_with_a_name_that_is_much_too_long_for_its_place")
    rows = [
        measured(
            run, model, 0.3 - i / 20, **(less("hybrid", -i / 20, 0.01) if i else {}), slice=of, metric=metric
        )
        for run in ("now", "before")
        for i, model in enumerate(models)
        for of in ("all", "cold_items", "new_users")
        for metric in ("ndcg@10", "recall@10")
    ]
    weight = {"part": "cf", "scale": 1.0, "method": "learned", "learned_share": 1.0, "ndcg10_alone": 0.1}
    ends = {"weight_lo": 0.0, "weight_hi": 0.4, "blend_difference": 0.03}
    lsh = quality(method="lsh", recall=0.96, recall_lo=0.95, recall_hi=0.97, n_queries=200, n_buckets=7)
    known = {item.item_id: item for item in items}
    ids = [item.item_id for item in items]
    looks = [Row(item_id=name, looks=[float(i), float(i % 3), 1.0 / (i + 1)]) for i, name in enumerate(ids)]
    group = [Row(group_id=ids[0], group_size=12, item_id=name, place=i) for i, name in enumerate(ids[:8])]
    weak = [Row(item_id=ids[4], rank=r, neighbor_id=ids[r], cosine=0.4 - r / 10) for r in range(1, 4)]
    cases = [
        worst(metric, place, ids, first_hit=None if place % 2 else 40)
        for metric in ("ndcg@10", "diversity@10", "miscalibration@10")
        for place in (1, 2)
    ]
    return (
        health,
        shown(rows, {"now": AT, "before": AT - 7 * DAY}),
        show_worst(cases, known),
        show_weights([Row(feature=name, weight=0.1, **weight, **ends) for name in ("als", "ridge_recent")]),
        show_search(Row(**(lsh | {"bucket_histogram": [0, 4, 0, 3]}))),
        show_space(SpaceRows(looks, group, weak), known, 0.5, 10),
    )
