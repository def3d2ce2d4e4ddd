"""What the sections of the page say: judged from few rows that one can check by hand."""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import pytest
from pyspark.sql import Row

from tests.reporting import AT, DAY, NOON, less, measured, ran, shown, worst
from tests.similarity import quality
from vizrec_spark.config.models import EvaluateConfig
from vizrec_spark.report import plots
from vizrec_spark.report.model import Facts, Gallery, Item
from vizrec_spark.report.plots import Mark
from vizrec_spark.report.render import render
from vizrec_spark.report.sections.drift import drift
from vizrec_spark.report.sections.evaluations import QualityRows, is_ablation, metric_name
from vizrec_spark.report.sections.findings import (
    Finding,
    drift_findings,
    pictured_finding,
    recall_finding,
    refused_finding,
    served_finding,
    stage_findings,
)
from vizrec_spark.report.sections.health import Health
from vizrec_spark.report.sections.quality import Quality, show_quality
from vizrec_spark.report.sections.refused import Refusals, Refused, Sample
from vizrec_spark.report.sections.runs import BUILDS_ON, Ran
from vizrec_spark.report.sections.search import Search, show_search
from vizrec_spark.report.sections.space import SpaceRows, grid, plane, show_space, unit_variance
from vizrec_spark.report.sections.weights import Weights, show_weights
from vizrec_spark.report.sections.worst import items_of, show_worst


def a_run(**more: Ran) -> dict[str, Ran]:
    """Every stage after those that it builds on."""
    return {stage: ran(stage, hour) for hour, stage in enumerate(BUILDS_ON)} | more


def levels(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.level, f.title) for f in findings]


def stages(latest: dict[str, Ran], after: float = 5) -> list[Finding]:
    """What is found, so many hours after noon, where a day may lie behind the last run."""
    return stage_findings(latest, NOON + timedelta(hours=after), timedelta(days=1))


def test_a_run_whose_stages_all_ended_in_order_is_good() -> None:
    (found,) = stages(a_run())
    assert (found.level, found.title) == ("good", "Stages")
    assert "recommend, on 30 Jun 2025 at 16:00" in found.when


def test_stages_that_are_missing_overtaken_or_held_are_told() -> None:
    some = a_run()
    del some["als"]
    assert levels(stages(some)) == [("bad", "Stage als")]
    (found,) = stages(a_run(similar=ran("similar", 9)))
    assert (found.level, found.title) == ("look", "Stage recommend")
    assert "run `vizrec recommend`" in found.sentence
    held = ran("evaluate", 1, "held")
    assert levels(stages(a_run(evaluate=held))) == [("look", "Stage evaluate")]
    # What the gate said before it let one pass is no longer so.
    assert levels(stages(a_run(evaluate=held, promote=ran("promote", 2)))) == [("good", "Stages")]


def test_a_model_that_is_promoted_by_the_week_is_not_overtaken_by_the_day() -> None:
    day = 24.0
    weekly = a_run(embed=ran("embed", 1, run="e"), als=ran("promote", -6 * day, run="weekly"))
    assert levels(stages(weekly)) == [("good", "Stages")]
    assert levels(stages(weekly | {"als": ran("promote", -9 * day)})) == [("look", "Stage als")]
    (found,) = stages(weekly | {"als": ran("promote", 4.5)})
    assert found.title == "Stage recommend" and found.sentence.startswith("Stage promote has ended after")


def test_old_records_and_those_of_several_runs_are_to_be_looked_at() -> None:
    assert levels(stages(a_run(), after=4 + 24)) == [("good", "Stages")]
    (old,) = stages(a_run(), after=4 + 24.1)
    assert (old.level, old.title) == ("look", "Age") and "last 24 hours" in old.sentence
    assert "30 Jun 2025 at 16:00" in old.when
    # A promotion or new embeddings do not make an old run a new one.
    others = a_run(als=ran("promote", 4.0 + 24), embed=ran("embed", 1))
    assert ("look", "Age") in levels(stages(others, after=4 + 24.1))
    (mixed,) = stages(a_run(recommend=ran("recommend", 4, run="later")))
    assert (mixed.level, mixed.title, mixed.when) == (
        "look",
        "Runs",
        "ingest: `r`; similar: `r`; recommend: `later`.",
    )


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (
            refused_finding({"ingest": ran("ingest", images_refused_share=0.04, users_refused_share=0.0)}),
            "good",
        ),
        (refused_finding({"ingest": ran("ingest", images_refused_share=0.06)}), "look"),
        (refused_finding({"ingest": ran("ingest", images_refused_share=0.21)}), "bad"),
        (served_finding(100, 100), "good"),
        (served_finding(95, 100), "look"),
        (served_finding(94, 100), "bad"),
        (served_finding(0, 0), "look"),
        (pictured_finding(80, 100), "good"),
        (pictured_finding(79, 100), "look"),
        (recall_finding(Row(**quality(method="lsh", n_queries=9, recall=0.95)), 0.95), "good"),
        (recall_finding(Row(**quality(method="lsh", n_queries=9, recall=0.94)), 0.95), "bad"),
        (recall_finding(Row(**quality(method="lsh", n_queries=0, recall=1.0)), 0.95), "look"),
        (recall_finding(Row(**quality()), 0.95), "good"),
        (recall_finding(None, 0.95), "look"),
    ],
)
def test_bounds(found: Finding | None, level: str) -> None:
    assert found is not None
    assert found.level == level


def test_an_ingest_that_published_nothing_is_told() -> None:
    """Its refusals stand in quarantine, and its record nowhere: the shares are those of the run before."""
    # Of the pictures three are named by no record, and no part of the share.
    figures = {"images_refused": 6.0, "images_refused_share": 0.01, "users_refused": 1.0}
    latest = {"ingest": ran("ingest", **figures, users_refused_share=1 / 3)}
    same, later = (refused_finding(latest, n) for n in (7, 180))
    assert same is not None and "33.3% of the input users" in same.sentence
    assert (
        refused_finding({"ingest": ran("ingest", users_refused_share=1 / 3)}, 180) == same
    )  # an older record
    assert later is not None and later.level == "bad" and "180 records" in later.sentence


def test_a_refused_picture_says_why_it_is_not_shown() -> None:
    states = [
        Sample("a.jpg", *of).state for of in (("truncated", False), ("truncated", True), ("too_large", True))
    ]
    assert states == ["missing", "broken", "too large"]


@pytest.mark.parametrize(
    ("method", "told", "text"),
    [
        ("learned", "Of the weights 60% is learned, the rest lies on als", "with its 95 % interval"),
        ("configured", "switched off or there was too little", "not learned, so without intervals"),
    ],
)
def test_weights_say_how_they_came(method: str, told: str, text: str) -> None:
    given = {"part": "cf", "weight": 0.1, "weight_lo": None, "weight_hi": None, "method": method}
    given |= {"learned_share": 0.6, "ndcg10_alone": 0.2, "blend_difference": 0.01}
    section = show_weights([Row(feature="als", **given)])
    assert told in section.told and text in section.charts[0].text


def test_labels_that_have_no_room_beside_each_other_are_left_out() -> None:
    labels = [f"{2**i}–{2 ** (i + 1) - 1}" for i in range(12)]
    drawn = [label for label in labels if label in plots.bars("b", labels, range(12))]
    assert len(drawn) == 4 and labels[0] in drawn
    assert "2–3" in plots.bars("b", labels[:3], range(3))


def test_what_was_not_measured_is_not_judged() -> None:
    assert refused_finding({}) is None and pictured_finding(None, 5) is None
    unknown = recall_finding(Row(**quality(method="lsh", n_queries=0)), 0.95)
    assert "not measured" in unknown.sentence


def test_drift_names_what_moved_and_how_far() -> None:
    before = {
        "ingest": (
            {"items": 100, "images": 10, "users": 10, "interactions": 10, "quarantine": 9},
            {"images_refused_share": 0.01},
        ),
        "similar": ({}, {"mean_cosine": 0.30}),
        "recommend": (
            {"recommendations": 50},
            {"from_als": 50.0, "from_cooccurrence": 30.0, "from_visual": 20.0},
        ),
        "als": ({}, {}),
    }
    latest = {
        "ingest": (
            {"items": 89, "images": 4, "users": 15, "interactions": 16, "quarantine": 40},
            {"images_refused_share": 0.04},
        ),
        "similar": ({}, {"mean_cosine": 0.36}),
        "recommend": (
            {"recommendations": 46},
            {"from_cooccurrence": 30.0, "from_popularity": 30.0},
        ),
    }
    moved = {m.name: (m.level, m.before, m.now, m.change) for m in drift(latest, before)}
    assert moved == {
        "rows of items": ("look", "100", "89", "-11.0%"),
        "rows of images": ("bad", "10", "4", "-60.0%"),
        "rows of users": ("good", "10", "15", "+50.0%"),
        "rows of interactions": ("look", "10", "16", "+60.0%"),
        "rows of quarantine": ("good", "9", "40", "+344.4%"),
        "rows of recommendations": ("good", "50", "46", "-8.0%"),
        "offers led by looks and attributes": ("look", "20.0%", "0.0%", "-20.0 points"),
        "offers led by popularity": ("look", "0.0%", "50.0%", "+50.0 points"),
        "offers led by shared taste": ("look", "80.0%", "50.0%", "-30.0 points"),
        "mean cosine of two items": ("look", "0.300", "0.360", "+0.060"),
        "refused of images": ("look", "1.0%", "4.0%", "+3.0 points"),
    }
    grown = next(m for m in drift(latest, before) if m.name == "rows of interactions")
    assert grown.sentence == "Table interactions has grown by 60%: 10 before, 16 now."
    assert drift(latest, {}) == []
    same = drift(before, before)
    assert {m.level for m in same} == {"good"} and levels(drift_findings(same)) == [("good", "Drift")]
    assert ("bad", "rows of images") in levels(drift_findings(drift(latest, before)))


def test_the_verdict_is_that_of_the_worst_finding() -> None:
    good, look, bad = (Finding(level, level, f"It is {level}.") for level in ("good", "look", "bad"))
    assert Health((good, good)).answer.word == "Healthy"
    odd = Health((look, look, good)).answer
    assert (odd.level, odd.word, odd.sentence) == (
        "look",
        "Healthy, 2 things to look at",
        "It is look. It is look.",
    )
    # It says which run it is about: the last of those that have all the steps, not the last of any job.
    of = Health((good,), (ran("recommend", 4, run="r-7"), ran("evaluate", 9, run="other"))).answer
    assert of.when == "Run `r-7` of 30 Jun 2025, 16:00 UTC."
    wrong = Health((bad, look, good)).answer
    assert (wrong.level, wrong.word, wrong.sentence) == ("bad", "Not healthy", "It is bad. It is look.")


def test_without_rows_the_section_says_what_to_run() -> None:
    assert Quality().answer.level == shown([], {"r": AT}).answer.level == "unknown"
    assert "vizrec evaluate" in Quality().answer.sentence


@pytest.mark.parametrize(
    ("difference", "half", "level", "word"),
    [
        (0.02, 0.01, "good", "Better"),
        (0.02, 0.03, "look", "No clear difference"),
        (-0.02, 0.01, "bad", "Worse"),
    ],
)
def test_the_candidate_is_judged_by_its_paired_difference(
    difference: float, half: float, level: str, word: str
) -> None:
    rows = [
        measured("r", "old", 0.2),
        measured("r", "new", 0.2 + difference, **less("old", difference, half)),
    ]
    answer = shown(rows, {"r": AT}, "new").answer
    assert (answer.level, answer.word) == (level, word)
    assert f"new less old: nDCG@10 {difference:+.4f}" in answer.sentence


def test_the_gate_says_by_what_the_candidate_is_judged() -> None:
    """Ahead by the headline and behind by the metric of the gate, in the slice of the gate."""
    rows = [
        measured("r", "old", 0.2),
        measured("r", "new", 0.3, **less("old", 0.1, 0.01)),
        measured("r", "new", 0.1, metric="recall@20", slice="heavy_users", **less("old", -0.1, 0.01)),
    ]
    given = {
        "gate": {"candidate": "new", "current": "old", "metric": "recall@20", "slice": "heavy_users"},
        "models": {"new": "lists", "old": "lists"},
    }
    section = show_quality(QualityRows(rows, {"r": AT}), EvaluateConfig.model_validate(given))
    assert section.answer.word == "Worse"
    assert "new less old: Recall@20 of heavy users -0.1000" in section.answer.sentence
    assert section.model == "new"
    assert shown(rows, {"r": AT}).model == "old"


def test_a_run_that_asked_the_gate_is_about_its_candidate_whoever_configured_it() -> None:
    """As the page of a schedule that measures nothing itself."""
    rows = [
        measured("r", "current", 0.2),
        measured("r", "candidate", 0.3, **less("current", 0.1, 0.01)),
        measured("r", "candidate_without_looks", 0.1, **less("current", -0.1, 0.01)),
    ]
    asked = show_quality(QualityRows(rows, {"r": AT}, {"r"}), EvaluateConfig())
    assert (asked.answer.word, asked.model) == ("Better", "candidate")
    assert "candidate less current: nDCG@10 +0.1000" in asked.answer.sentence
    third = [*rows, measured("r", "theirs", 0.4, **less("current", 0.2, 0.01))]
    for found in (QualityRows(rows, {"r": AT}, {"other"}), QualityRows(third, {"r": AT}, {"r"})):
        told = show_quality(found, EvaluateConfig())
        assert (told.answer.word, told.model) == ("Cannot be told yet", "current")


def test_a_candidate_that_was_held_back_makes_nothing_worse() -> None:
    rows = [
        measured("r", "current", 0.3),
        measured("r", "candidate", 0.2, **less("current", -0.1, 0.01)),
    ]
    held = show_quality(QualityRows(rows, {"r": AT}, {"r"}, {"r"}), EvaluateConfig())
    assert (held.answer.level, held.answer.word) == ("look", "Worse, held back")
    assert held.answer.sentence.startswith("The gate held the candidate back, so it was not promoted. ")
    assert "candidate less current: nDCG@10 -0.1000" in held.answer.sentence
    assert (held.candidate, held.model) == ("candidate", "current")


def test_the_tables_own_model_is_called_what_it_is() -> None:
    answer = shown([measured("r", "recommendations", 0.2)], {"r": AT}).answer
    assert answer.sentence.startswith("The hybrid (table `recommendations`) has nDCG@10 0.200")


def test_the_week_before_is_found_behind_many_evaluations_and_the_charts_show_the_last_ones() -> None:
    ended = {f"n{i}": AT - i * DAY / 2 for i in range(20)}
    rows = [measured(run, "m", 0.3) for run in ended]
    section = shown(rows, ended)
    assert "0.300 on 23 Jun 2025" in section.answer.sentence
    assert "nDCG@10 over the last 8 evaluations" in [chart.title for chart in section.charts]


def test_without_a_candidate_models_of_one_run_are_not_played_off_against_each_other() -> None:
    """A candidate that is clearly worse than the current model is no reason to say that anything is better."""
    rows = [measured("r", "current", 0.3), measured("r", "candidate", 0.2, **less("current", -0.1, 0.02))]
    section = shown(rows, {"r": AT})
    assert (section.answer.level, section.answer.word) == ("unknown", "Cannot be told yet")
    assert (
        section.answer.sentence
        == "Model `current` has nDCG@10 0.300 in the last evaluation, which is the only one."
    )
    assert "nDCG@10, less current" in [chart.title for chart in section.charts]
    before = [measured("last", "current", 0.36), measured("last", "candidate", 0.1)]
    worse = shown([*rows, *before], {"r": AT, "last": AT - 7 * DAY}).answer
    assert (worse.level, worse.word) == ("bad", "Worse")
    assert (
        "Model `current` has nDCG@10 0.300 now and 0.360 on 23 Jun 2025. The change, -0.0600"
        in worse.sentence
    )


def test_the_main_model_is_compared_with_its_evaluation_of_the_week_before() -> None:
    ended = {"now": AT, "yesterday": AT - DAY, "six": AT - 6 * DAY, "last": AT - 7 * DAY + 3600, "older": 0.0}
    values = {"now": 0.30, "yesterday": 0.29, "six": 0.31, "last": 0.20, "older": 0.1}
    rows = [measured(run, "m", value) for run, value in values.items()]
    # Ahead of it is what has a part taken away: that is no model of its own.
    rows.append(measured("now", "m_without_looks", 0.4, **less("m", 0.1, 0.01)))
    answer = shown(rows, ended).answer
    assert (answer.word, answer.level) == ("Better", "good")
    assert answer.sentence == (
        "Model `m` has nDCG@10 0.300 now and 0.200 on 23 Jun 2025. The change, +0.1000 [+0.0859, +0.1141] with users "
        "not paired, is too large for chance."
    )
    alone = shown(rows[:1], ended).answer
    assert (
        alone.level == "unknown" and "0.300 in the last evaluation, which is the only one" in alone.sentence
    )
    renamed = shown([measured("now", "m2", 0.3), *rows[1:3]], ended).answer
    assert renamed.level == "unknown" and "no earlier one has a model of that name" in renamed.sentence
    same = shown([measured("now", "m", 0.2), measured("yesterday", "m", 0.2)], ended).answer
    assert same.level == "look" and same.sentence.endswith("may be chance.")


def test_the_configured_protocol_is_the_one_of_the_headline() -> None:
    rows = [
        measured("r", "m", 0.3),
        measured("r", "m", 0.1, protocol="cold_items"),
        measured("r", "m", 0.2, protocol="leave_last_out"),
    ]
    section = shown(rows, {"r": AT})
    assert (section.protocol, section.others) == ("user_time", ("cold_items", "leave_last_out"))
    assert "0.300" in section.answer.sentence
    other = shown(rows, {"r": AT}, protocol="global_time")
    assert (other.protocol, other.others) == ("cold_items", ("leave_last_out", "user_time"))
    # Whoever measures under another one afterwards does not change what the page is about.
    later = shown([*rows, measured("later", "m", 0.9, protocol="cold_items")], {"r": AT, "later": AT + DAY})
    assert (later.protocol, later.answer.sentence) == ("user_time", section.answer.sentence)


def test_models_beyond_those_that_a_plot_can_show_stand_in_its_numbers() -> None:
    rows = [
        measured(run, f"m{i}", 0.1 + i / 10, slice=of)
        for run in ("a", "b")
        for i in range(6)
        for of in ("all", "cold_items")
    ]
    rows[0] = measured("a", "m0", 0.1, lo=None, hi=None)
    charts = {chart.title: chart for chart in shown(rows, {"a": AT, "b": AT - DAY}).charts}
    for title, n in (("nDCG@10 by segment", 6), ("nDCG@10 over the last 2 evaluations", 12)):
        assert len(charts[title].rows) == n
        assert charts[title].text.endswith("Drawn are 4 of 6 models; the numbers have all.")
    assert charts["nDCG@10"].text.endswith("interval; a mark without a bar has none.")


def test_every_chart_has_its_numbers_as_a_table() -> None:
    rows = [
        measured("a", "hybrid", 0.3),
        measured("a", "popular", 0.2, **less("hybrid", -0.1, 0.02)),
        measured("a", "hybrid_without_visual", 0.28, **less("hybrid", -0.02, 0.01)),
        measured("a", "hybrid", 0.1, slice="cold_items"),
        measured("a", "hybrid", 0.5, metric="coverage@10", lo=None, hi=None),
        measured("b", "hybrid", 0.25),
        measured("other", "hybrid", 0.9, protocol="cold_items"),
    ]
    section = shown(rows, {"a": AT, "b": AT - DAY, "other": AT - 2 * DAY})
    assert [one.run_id for one in section.evaluations] == ["a", "b"]
    tables = {chart.title: chart.rows for chart in section.charts}
    assert list(tables) == [
        "nDCG@10",
        "Coverage@10",
        "nDCG@10, less hybrid",
        "nDCG@10, without a part, less hybrid",
        "nDCG@10 by segment",
        "nDCG@10 over the last 2 evaluations",
    ]
    assert tables["nDCG@10"] == (
        ("hybrid", "0.3000", "[0.2900, 0.3100]", "90"),
        ("popular", "0.2000", "[0.1900, 0.2100]", "90"),
    )
    # A model has the same shape and colour in every plot.
    drawn = [set(re.findall(r'-m\w+" d="[^"]+" style="stroke: var\(--c(\d)', c.svg)) for c in section.charts]
    assert (drawn[0], drawn[2]) == ({"0", "1"}, {"1"})
    assert tables["nDCG@10, without a part, less hybrid"][0][:3] == (
        "hybrid_without_visual",
        "-0.0200",
        "[-0.0300, -0.0100]",
    )
    assert tables["nDCG@10 by segment"][0][:3] == ("cold items", "hybrid", "0.1000")
    assert [row[2] for row in tables["nDCG@10 over the last 2 evaluations"]] == ["0.3000", "0.2000", "0.2500"]


def test_names() -> None:
    assert [metric_name(m) for m in ("ndcg@10", "hit_rate@5", "auc")] == ["nDCG@10", "Hit rate@5", "AUC"]
    assert [is_ablation(m) for m in ("hybrid_without_cf", "als", "withoutdoors")] == [True, False, False]


HOSTILE = "<script>$x^2$ a#010101</script>"


def test_a_plot_takes_the_colours_of_the_page_and_keeps_text_as_text() -> None:
    marks = [Mark(HOSTILE, 0.2, 0.1, 0.3), Mark("b", 0.1, None, None, 1)]
    drawn = [
        plots.intervals("one", marks, line=0.15),
        plots.grouped("two", [(HOSTILE, marks)], [HOSTILE, "b"]),
        plots.over_time("three", ["1 Jun", "2 Jun"], [(HOSTILE, [marks[0], None]), ("b", marks)]),
        plots.bars("four", [HOSTILE, "2–3"], [3, 12_000]),
    ]
    ids: list[str] = []
    for svg in drawn:
        assert svg.startswith("<svg") and "script>" not in svg.replace("&lt;script&gt;", "").replace(
            "&lt;/script&gt;", ""
        )
        assert "var(--c0)" in svg and "var(--ink)" in svg
        tags = re.sub(r">[^<]*<", "><", svg)
        assert re.findall(r"#0[0-9a-f]{5}\b", tags) == []  # no colour of its own
        assert "$x^2$" in svg and "a#010101" in svg
        assert set(re.findall(r'href="#([^"]+)"', svg)) <= set(re.findall(r'id="([^"]+)"', svg))
        ids += re.findall(r'<[^>]* id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    # Series differ in shape, not in colour alone.
    shapes = re.findall(r'<path id="one-m\w+" d="([^"]+)"', drawn[0])
    assert len({shape for shape in shapes if "C" in shape or shape.count("L") == 3}) == 2
    assert plots.intervals("one", marks, line=0.15) == drawn[0]
    # The line to compare with stands beside each mark, and not through the figures above it.
    pieces = re.search(r'id="one-LineCollection_1">(.*?)</g>', drawn[0], re.DOTALL)
    assert pieces is not None and pieces[1].count("<path") == len(marks)


def test_weights_are_ordered_and_told() -> None:
    of = {"scale": 1.0, "method": "learned", "learned_share": 1.0, "blend_difference": 0.03}
    row = {"weight_lo": 0.0, "weight_hi": 0.4, "ndcg10_alone": 0.1, "part": "cf", **of}
    section = show_weights(
        [
            Row(feature="als", weight=0.1, **row),
            Row(feature="ridge_recent", weight=-0.2, **(row | {"ndcg10_alone": 0.05})),
        ]
    )
    assert [r[0] for r in section.charts[0].rows] == ["ridge recent", "als"]
    assert [r[0] for r in section.charts[1].rows] == ["als", "ridge recent"]
    assert "blend has nDCG@10 0.1300, its best feature alone (als) 0.1000" in section.told


def test_the_search_tells_recall_and_skew() -> None:
    assert show_search(Row(**quality())).charts == ()
    unmeasured = show_search(Row(**quality(method="lsh", n_queries=0)))
    assert unmeasured.charts == () and "not measured" in unmeasured.told
    lsh = quality(method="lsh", recall=0.96, recall_lo=0.95, recall_hi=0.97, n_queries=200, n_buckets=7)
    section = show_search(Row(**(lsh | {"bucket_histogram": [0, 4, 0, 3], "bucket_skew": 2.5})))
    recall, buckets = section.charts
    assert recall.rows == (("0.9600", "[0.9500, 0.9700]", "0.95", "200"),)
    assert buckets.rows == (("2–3", "4"), ("4–7", "0"), ("8–15", "3"))
    assert "2.5 times the mean bucket" in buckets.text


def test_the_plane_is_that_of_most_variance() -> None:
    rng = np.random.default_rng(3)
    looks = rng.normal(size=(400, 6)) * [0.1, 3.0, 0.1, 0.1, 2.0, 0.1] + 7
    places, kept = plane(looks)
    assert np.abs(np.corrcoef(places[:, 0], looks[:, 1])[0, 1]) > 0.99
    assert np.abs(np.corrcoef(places[:, 1], looks[:, 4])[0, 1]) > 0.99
    assert kept == pytest.approx(places.var(axis=0).sum())
    assert plane(-looks)[0] == pytest.approx(-places)  # the same directions
    unit = rng.normal(size=(50, 4)) + 1
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[~np.eye(50, dtype=bool)].mean()
    assert unit_variance(pairs, 50) == pytest.approx(unit.var(axis=0).sum())


def test_the_grid_gives_each_its_own_cell_near_its_place() -> None:
    rng = np.random.default_rng(4)
    places = rng.normal(size=(120, 2))
    cells = grid(places, 20)
    assert len({tuple(cell) for cell in cells}) == 120
    assert np.corrcoef(cells[:, 1], places[:, 0])[0, 1] > 0.9
    assert np.corrcoef(cells[:, 0], places[:, 1])[0, 1] < -0.9  # up is up
    assert len({tuple(c) for c in grid(np.zeros((30, 2)), 5)}) == 30


def test_the_space_shows_items_with_pictures_groups_and_the_weakest() -> None:
    known = {f"i{n}": Item(f"i{n}", picture=None if n == 3 else f"p{n}") for n in range(6)}
    looks = [Row(item_id=f"i{n}", looks=[float(n), float(n % 2), 0.0]) for n in range(6)]
    pair = [Row(group_id="i0", group_size=9, item_id=f"i{n}", place=n + 1) for n in range(2)]
    weak = [Row(item_id="i4", rank=r, neighbor_id=f"i{r}", cosine=0.3 - r / 10) for r in (2, 1)]
    section = show_space(SpaceRows(looks, pair, weak), known, 0.5, 6)
    assert sorted(t.item.item_id for t in section.tiles) == ["i0", "i1", "i2", "i4", "i5"]
    assert section.share is not None and 0 < section.share <= 1
    assert [(g.size, [i.item_id for i in g.items]) for g in section.groups] == [(9, ["i0", "i1"])]
    assert [(w.item.item_id, [i.item_id for i, _ in w.near]) for w in section.weakest] == [
        ("i4", ["i1", "i2"])
    ]


@pytest.mark.parametrize(
    ("apart", "weak", "told"),
    [
        (True, True, "Not looked for: <code>similar.near_duplicates.cosine</code> is null"),
        (False, True, "No two items show nearly the same picture"),
        (False, False, "Nothing was compared yet"),
    ],
)
def test_near_duplicates_are_missed_for_a_reason(apart: bool, weak: bool, told: str) -> None:
    known = {name: Item(name) for name in ("i1", "i2")}
    rows = [Row(item_id="i1", rank=1, neighbor_id="i2", cosine=0.3)] if weak else []
    section = show_space(SpaceRows((), (), rows), known, None, 0, apart=apart)
    assert told in render(Gallery(Facts("r", 0, 0, 0, 0)), (section,))


def test_the_worst_cases_name_whom_what_and_where() -> None:
    known = {name: Item(name, title=name.upper()) for name in ("a", "b", "c")}
    rows = [
        worst("ndcg@10", 2, [], user_id="v", first_hit=4),
        worst("ndcg@10", 1, [], user_id="u", offered=["a", "b"], missed=["c"]),
        worst("diversity@5", 1, [], user_id="w", value=0.125, offered=["a"] * 5 + ["b"], missed=["b"]),
    ]
    assert items_of(rows) == {"a", "b", "c"}
    section = show_worst(rows, known)
    assert [(kind.metric, [c.user_id for c in kind.cases]) for kind in section.kinds] == [
        ("nDCG@10", ["u", "v"]),
        ("Diversity@5", ["w"]),
    ]
    # What stands behind the length of the metric's lists was not seen by it.
    assert [item.item_id for item in section.kinds[1].cases[0].offered] == ["a"] * 5
    html = render(Gallery(Facts("r", 0, 0, 0, 0)), (section,))
    assert "none of these stands in the list" in html and "stands at rank 4" in html
    assert (
        'aria-label="nDCG@10: offered first to u"' in html
        and 'aria-label="nDCG@10: taken by u, not among the first 10"' in html
    )
    assert "Diversity@5 0.125" in html and "Nothing." in html
    assert "shows whom the model served worst" in render(
        Gallery(Facts("r", 0, 0, 0, 0)), (show_worst([], known),)
    )


def test_the_page_tells_health_first_and_links_lead_somewhere() -> None:
    health = Health(
        (Finding("bad", "Stage als", "It is wrong <b>."),),
        (ran("similar", recall=0.987, searched=12009.0), ran("evaluate", outcome="held")),
        (),
        Refusals((Refused("images", "not_an_image", 7, "mend <it>"),)),
        (Sample("a/<x>.jpg", "truncated", True), Sample("gone.jpg", "missing_file", False)),
    )
    sections = (health, Quality(), Weights(), Search(), show_space(SpaceRows(), {}, None, 0))
    html = render(Gallery(Facts("r", 0, 0, 0, 0)), sections)
    assert html.index("Not healthy") < html.index("Items</dt>")
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    for told in (
        "It is wrong &lt;b&gt;.",
        "not an image images 7",
        "similar r 2025-06-30 12:00 1.0 0 recall 0.987, searched 12,009",
        "evaluate (held)",
    ):
        assert told in text
    assert 'aria-label="a/&lt;x&gt;.jpg, broken"' in html and 'aria-label="gone.jpg, missing"' in html
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(re.findall(r' id="([^"]+)"', html))
