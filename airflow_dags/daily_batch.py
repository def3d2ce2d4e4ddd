"""DAG daily_batch: the day's files become tables, and everybody gets a new list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task
from airflow.sdk.exceptions import AirflowFailException

from vizrec_dags.operators import EmbeddingsSensor, VizrecJobOperator
from vizrec_dags.publish import publish
from vizrec_dags.settings import COMMON_PARAMS, DEFAULT_ARGS, IMAGES, MACROS, RECOMMENDATIONS

PARAMS = {
    **COMMON_PARAMS,
    "max_quarantined": Param(
        0.2,
        type="number",
        minimum=0,
        maximum=1,
        description="Largest share of any source's records that may be in quarantine.",
    ),
}

with DAG(
    "daily_batch",
    description="Files to tables, look-alikes, a list for every user, the gallery.",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=DEFAULT_ARGS,
    params=PARAMS,
    user_defined_macros=MACROS,
    tags=["vizrec"],
) as dag:

    @task
    def check_quarantine(record: dict[str, Any], **context: Any) -> dict[str, float]:
        """The share of each source that was refused. Fails, without another try, where one is too large."""
        shares = {
            name.removesuffix("_refused_share"): share
            for name, share in record["metrics"].items()
            if name.endswith("_refused_share")
        }
        allowed = context["params"]["max_quarantined"]
        bad = {source: share for source, share in shares.items() if share > allowed}
        if bad:
            told = ", ".join(f"{source} {share:.1%}" for source, share in bad.items())
            raise AirflowFailException(
                f"More than {allowed:.1%} in quarantine: {told}. Table quarantine says what is wrong with each record; "
                "mend the files, or start a run with a larger max_quarantined."
            )
        return shares

    ingest = VizrecJobOperator(job="ingest")
    checked = check_quarantine(ingest.output)
    published_images = publish(IMAGES, "images", ingest.output)
    embedded = EmbeddingsSensor(task_id="await_embeddings")
    similar = VizrecJobOperator(job="similar")
    recommend = VizrecJobOperator(job="recommend", settings=["recommend.model=promoted"])
    published_lists = publish(RECOMMENDATIONS, "recommendations", recommend.output)
    report = VizrecJobOperator(job="report")

    checked >> published_images >> embedded >> similar >> recommend >> published_lists >> report
