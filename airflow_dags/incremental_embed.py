"""DAG incremental_embed: whenever pictures were published, those without an embedding get one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowException

from vizrec_dags.operators import VizrecJobOperator
from vizrec_dags.publish import publish
from vizrec_dags.settings import COMMON_PARAMS, DEFAULT_ARGS, EMBEDDINGS, IMAGES, MACROS

with DAG(
    "incremental_embed",
    description="Embeddings of the pictures that have none.",
    doc_md=__doc__,
    schedule=[IMAGES],
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=24),
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=12)},
    params=COMMON_PARAMS,
    user_defined_macros=MACROS,
    tags=["vizrec"],
) as dag:

    @task(multiple_outputs=True)
    def read_events(**context: Any) -> dict[str, Any]:
        """All days of the events that started the run, and the newest version of `images` among them."""
        events = context["triggering_asset_events"] or {}
        extras = [event.extra for of_asset in events.values() for event in of_asset if event.extra]
        return {
            "days": sorted({day for extra in extras for day in extra["days"]}),
            "images_version": max((extra["version"] for extra in extras), default=-1),
        }

    @task
    def check_pictures(record: dict[str, Any], images_version: int) -> None:
        """Fails where the job has seen older pictures than those that started the run."""
        seen = record["metrics"]["images_version"]
        if seen < images_version:
            raise AirflowException(
                f"Pictures of version {images_version} were published, and stage embed has read version {seen:.0f}: is "
                "Variable vizrec_tables the same place for both?"
            )

    events = read_events()
    embed = VizrecJobOperator(job="embed")
    checked = check_pictures(embed.output, events["images_version"])
    published = publish(EMBEDDINGS, "embeddings", embed.output, events["days"])

    events >> embed
    checked >> published
