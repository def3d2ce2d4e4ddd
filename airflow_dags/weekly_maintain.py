"""DAG weekly_maintain: the tables are compacted, and files that no version needs any more go, weekly_retrain's too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from vizrec_dags.alerts import tell_of_time_out
from vizrec_dags.operators import VizrecJobOperator
from vizrec_dags.settings import COMMON_PARAMS, CURRENT, DEFAULT_ARGS, MACROS, TRAINING

with DAG(
    "weekly_maintain",
    description="Compact, cluster and vacuum the tables.",
    doc_md=__doc__,
    # From the end of weekly_retrain's longest run, on Wednesday, to its next start there is time for the longest of
    # this one; and daily_batch, which starts at night, is over on most days.
    schedule=CronDataIntervalTimetable("0 12 * * 5", timezone="UTC"),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # Every try of the job.
    dagrun_timeout=timedelta(hours=26),
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=6)},
    on_failure_callback=tell_of_time_out,
    params=COMMON_PARAMS,
    user_defined_macros=MACROS,
    tags=["vizrec"],
) as dag:
    VizrecJobOperator(job="maintain")
    # What weekly_retrain has replaced goes. Its tables are written anew each week, or are shallow clones, which would
    # become whole copies if their small files were put together.
    for name, tables in (("training", TRAINING), ("current", CURRENT)):
        VizrecJobOperator(
            job="maintain",
            task_id=f"maintain_{name}",
            tables=tables,
            settings=["maintain.compact=false", "maintain.tables=[]", "maintain.clones=[]"],
        )
