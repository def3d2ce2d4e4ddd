"""DAG incremental_embed: whenever pictures were published, those without an embedding get one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

from vizrec_dags.alerts import tell_of_time_out
from vizrec_dags.days import day_of
from vizrec_dags.events import days_in, extras_of, settings_in, version_in
from vizrec_dags.operators import VizrecJobOperator
from vizrec_dags.publish import publish
from vizrec_dags.settings import (
    COMMON_PARAMS,
    DEFAULT_ARGS,
    EMBEDDING,
    EMBEDDINGS,
    IMAGES,
    MACROS,
    POOL,
    SHORT,
    overrides,
)

with DAG(
    "incremental_embed",
    description="Embeddings of the pictures that have none.",
    doc_md=__doc__,
    schedule=[IMAGES],
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=EMBEDDING,
    default_args=DEFAULT_ARGS,
    on_failure_callback=tell_of_time_out,
    params=COMMON_PARAMS,
    user_defined_macros=MACROS,
    tags=["vizrec"],
) as dag:

    @task(execution_timeout=SHORT)
    def read_settings(**context: Any) -> list[list[str]]:
        """The run's own settings, with each distinct list of those of section `embed` that its events bring."""
        return settings_in(extras_of(context["triggering_asset_events"]), overrides(context))

    @task(multiple_outputs=True, execution_timeout=SHORT)
    def read_events(**context: Any) -> dict[str, Any]:
        """All days of the events that started the run, and the newest version of `images` among them."""
        extras = extras_of(context["triggering_asset_events"])
        return {"days": days_in(extras, day_of(context)), "images_version": version_in(extras)}

    @task(execution_timeout=SHORT)
    def check_pictures(records: Sequence[Mapping[str, Any]], images_version: int) -> None:
        """Fails where a job has seen older pictures than those that started the run."""
        seen = min(int(record["metrics"]["images_version"]) for record in records)
        if seen < images_version:
            raise AirflowFailException(
                f"Pictures of version {images_version} were published, and stage embed has read version {seen}: is "
                "Variable vizrec_tables the same place for both?"
            )

    events = read_events()
    # The scheduler looks for the pool here. One at a time, for they write the same tables. Each try has time for very
    # many pictures, and what it has done is kept, so two are enough.
    embed = VizrecJobOperator.partial(
        task_id="embed",
        job="embed",
        part="{{ ti.map_index }}",
        pool=POOL,
        max_active_tis_per_dagrun=1,
        retries=1,
        execution_timeout=timedelta(hours=12),
    ).expand(run_settings=read_settings())
    checked = check_pictures(embed.output, events["images_version"])
    published = publish(EMBEDDINGS, "embeddings", embed.output, events["days"])

    events >> embed
    checked >> published
