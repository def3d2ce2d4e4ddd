"""DAG daily_batch: the day's files become tables, and everybody gets a new list."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task
from airflow.sdk.exceptions import AirflowFailException

from vizrec_dags.alerts import tell_of_time_out
from vizrec_dags.days import HOUR, LOG_KEPT, day_of
from vizrec_dags.delta_log import day_loaded
from vizrec_dags.hold import skip_if_held
from vizrec_dags.operators import VizrecJobOperator
from vizrec_dags.publish import publish
from vizrec_dags.run_ids import day_in
from vizrec_dags.sensors import EmbeddingsSensor
from vizrec_dags.settings import (
    COMMON_PARAMS,
    DEFAULT_ARGS,
    EMBEDDED,
    IMAGES,
    MACROS,
    RECOMMENDATIONS,
    SHORT,
    folder,
)

log = logging.getLogger(__name__)

PARAMS = {
    **COMMON_PARAMS,
    "max_quarantined": Param(
        0.2,
        type="number",
        minimum=0,
        maximum=1,
        description="Largest share of any source's records that may be in quarantine.",
    ),
    "older_day": Param(
        False,
        type="boolean",
        description="Whether the tables of a newer day may be replaced by those of this one.",
    ),
}


def may_load(context: Any, tables: str) -> None:
    """Before each start of `ingest`: a scheduled run is skipped while the schedule is held, and an older day refused.

    Raises: AirflowSkipException; AirflowFailException, after which there is no other try.
    """
    skip_if_held(context)
    refuse_older_day(context, tables)


def refuse_older_day(context: Any, tables: str) -> None:
    """Fails, without another try, where the tables hold a newer day: older ones would take its place."""
    if context["params"]["older_day"]:
        return
    day = day_of(context)
    dag_id = context["dag"].dag_id
    oldest = context["dag_run"].run_after - LOG_KEPT
    loaded = day_loaded(folder(tables), lambda run_id: day_in(dag_id, run_id), oldest)
    if loaded is None:
        log.warning(
            "No run of %s has loaded a day since %s, as far as table runs tells (%s days): nothing is refused",
            dag_id,
            f"{oldest:%Y-%m-%d}",
            LOG_KEPT.days,
        )
    elif loaded > day:
        raise AirflowFailException(
            f"Day {loaded} has been loaded, and this run is about {day}: its tables would take the place of newer "
            'ones. If that is what you want, start a run with "older_day": true, and load the newest day again '
            "after it."
        )


with DAG(
    "daily_batch",
    description="Files to tables, look-alikes, a list for every user, the gallery.",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(f"0 {HOUR} * * *", timezone="UTC"),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # The wait for the embeddings, one try of each job, and some time to spare.
    dagrun_timeout=EMBEDDED + timedelta(hours=12),
    default_args=DEFAULT_ARGS,
    on_failure_callback=tell_of_time_out,
    params=PARAMS,
    user_defined_macros=MACROS,
    tags=["vizrec"],
) as dag:

    @task(execution_timeout=SHORT)
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

    ingest = VizrecJobOperator(job="ingest", before=may_load)
    checked = check_quarantine(ingest.output)
    published_images = publish(IMAGES, "images", ingest.output, settings=True)
    embedded = EmbeddingsSensor(task_id="await_embeddings")
    similar = VizrecJobOperator(job="similar")
    recommend = VizrecJobOperator(job="recommend", settings=["recommend.model=promoted"])
    published_lists = publish(RECOMMENDATIONS, "recommendations", recommend.output)
    report = VizrecJobOperator(job="report")

    checked >> published_images >> embedded >> similar >> recommend >> published_lists >> report
