"""DAG weekly_retrain: new settings for ALS, held against those in service, and promoted if they are not worse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task

from vizrec_dags.alerts import tell_of_time_out
from vizrec_dags.hold import skip_if_held
from vizrec_dags.operators import VizrecJobOperator
from vizrec_dags.publish import publish
from vizrec_dags.settings import COMMON_PARAMS, CURRENT, DEFAULT_ARGS, MACROS, MODEL, SHORT, TRAINING

PARAMS = {
    **COMMON_PARAMS,
    "metric": Param("ndcg@10", type="string", description="evaluate.gate.metric"),
    "tolerance": Param(
        0.005,
        type="number",
        minimum=0,
        description="evaluate.gate.tolerance: how much worse the candidate may be at the bad end of the interval.",
    ),
    "minimum": Param(
        None, type=["null", "number"], description="evaluate.gate.minimum: what it must reach in any case."
    ),
}

# The same for the job that measures and for the one that promotes: both ask the gate.
JUDGED = [
    f"evaluate.training={TRAINING}",
    # What was split is what is judged, whatever was loaded since.
    "evaluate.log_version={{ vizrec_log_version(ti.xcom_pull(task_ids='split')) }}",
    f'evaluate.models={{"candidate": "{TRAINING}/recommendations", "current": "{CURRENT}/recommendations"}}',
    "evaluate.reference=current",
    "evaluate.gate.candidate=candidate",
    "evaluate.gate.current=current",
    "evaluate.gate.metric={{ params.metric }}",
    "evaluate.gate.tolerance={{ params.tolerance | float }}",
    "evaluate.gate.minimum={{ 'null' if params.minimum is none else params.minimum | float }}",
]

with DAG(
    "weekly_retrain",
    description="Split, tune, train, evaluate once, ask the gate, promote.",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 6 * * 0", timezone="UTC"),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # One try of each job, or every try of the longest.
    dagrun_timeout=timedelta(hours=72),
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=6)},
    on_failure_callback=tell_of_time_out,
    params=PARAMS,
    user_defined_macros=MACROS,
    tags=["vizrec"],
) as dag:

    @task.short_circuit(execution_timeout=SHORT)
    def gate(record: dict[str, Any]) -> bool:
        """Whether the candidate may be published. If not, the rest is skipped and the old model stays."""
        return bool(record["outcome"] == "done")

    # One window in two places: for the candidate, and for the settings in service.
    split = VizrecJobOperator(
        job="holdout",
        task_id="split",
        # What is loaded meanwhile is not what anybody should learn from, nor be judged on.
        before=skip_if_held,
        settings=[f"evaluate.training={TRAINING}", f'evaluate.training_copies=["{CURRENT}"]'],
    )
    tune = VizrecJobOperator(
        job="tune", tables=TRAINING, settings=["als.settings=promoted"], execution_timeout=timedelta(hours=12)
    )
    train = VizrecJobOperator(job="als", task_id="train", tables=TRAINING, settings=["als.settings=tuned"])
    train_current = VizrecJobOperator(
        job="als", task_id="train_current", tables=CURRENT, settings=["als.settings=promoted"]
    )
    # On the training window any model may speak: what is in service has not learned from it alone.
    lists = VizrecJobOperator(
        job="recommend", task_id="recommend", tables=TRAINING, settings=["recommend.model=latest"]
    )
    lists_current = VizrecJobOperator(
        job="recommend", task_id="recommend_current", tables=CURRENT, settings=["recommend.model=latest"]
    )
    evaluate = VizrecJobOperator(job="evaluate", settings=JUDGED)
    passed = gate(evaluate.output)
    promote = VizrecJobOperator(job="promote", settings=[*JUDGED, "als.settings=tuned"])
    published = publish(MODEL, "promotions", promote.output, task_id="publish_model")

    split >> tune >> train >> lists >> evaluate
    split >> train_current >> lists_current >> evaluate
    passed >> promote >> published
