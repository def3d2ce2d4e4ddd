"""Where everything is, and how tasks behave: Airflow's Variables, the Spark connection, the pool, the assets.

The DAGs know job paths and table names, and nothing else of the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Asset, ObjectStoragePath, Param, Variable
from airflow.sdk.exceptions import AirflowFailException
from jinja2 import pass_context

from vizrec_dags.run_ids import name_run

CONNECTION = "vizrec_spark"
POOL = "vizrec_spark"

# Jinja, so that a Variable is read when a task runs and not each time a file is parsed.
HOME = "{{ var.value.get('vizrec_home', '/opt/vizrec_spark') }}"
CONFIG = "{{ var.value.get('vizrec_config', '/opt/vizrec_spark/conf/cluster.yml') }}"
TABLES = "{{ var.value.vizrec_tables.rstrip('/') }}"
TRAINING = TABLES + "_training"
CURRENT = TABLES + "_current"
RUN = "{{ vizrec_run_id() }}"

IMAGES = Asset("vizrec_images", uri="x-vizrec://tables/images")
EMBEDDINGS = Asset("vizrec_embeddings", uri="x-vizrec://tables/embeddings")
RECOMMENDATIONS = Asset("vizrec_recommendations", uri="x-vizrec://tables/recommendations")
MODEL = Asset("vizrec_model", uri="x-vizrec://tables/promotions")

# A stage can be run again at any time: what a cluster loses is tried anew, ever later. The limit is that of one try of
# a job. A run of a DAG has time for every try of any one task, and for one try of each on its longest way.
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "vizrec",
    "retries": 3,
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=30),
    "execution_timeout": timedelta(hours=2),
}
# daily_batch starts at this hour, UTC.
HOUR = 2
# For tasks that only read a few small files, or publish.
SHORT = timedelta(minutes=10)
# A run of incremental_embed; who waits for it may have to wait for the one before it too.
EMBEDDING = timedelta(hours=26)
EMBEDDED = 2 * EMBEDDING

COMMON_PARAMS: dict[str, Param] = {
    "day": Param(
        None,
        type=["null", "string"],
        format="date",
        description="The day that is loaded; it replaces {day} in settings. Empty: that of the data interval.",
    ),
    "encoder": Param(
        None,
        type=["null", "string"],
        description="embed.encoder of this run. Empty: Variable vizrec_encoder, or else the configuration file's.",
    ),
    "settings": Param(
        [],
        type="array",
        items={"type": "string", "pattern": r"^[a-z_]+(\.[a-z_]+)+=.*$"},
        description="Keys of conf/base.yml for this run: section.key=value. They win over Variable vizrec_settings.",
    ),
}


def day_of(context: Mapping[str, Any]) -> str:
    """The day that a run is about, as 2026-01-31.

    A run that an asset or a person started has no data interval; then it is that of the last interval of `daily_batch`
    that was over when Airflow let the run start, which is the same for every try.
    """
    asked = context["params"].get("day")
    interval = context.get("data_interval_start") or context["dag_run"].run_after - timedelta(
        days=1, hours=HOUR
    )
    return str(asked or f"{interval:%Y-%m-%d}")


def since(context: Mapping[str, Any]) -> datetime:
    """Nothing that a run has committed is older than this, though clocks may differ by an hour."""
    run_after: datetime = context["dag_run"].run_after
    return run_after - timedelta(hours=1)


def overrides(context: Mapping[str, Any]) -> list[str]:
    """Settings for all jobs of a run: those of the Variables, then those of the run's parameters."""
    params = context["params"]
    pairs = [*Variable.get("vizrec_settings", default=[], deserialize_json=True), *params.get("settings", [])]
    encoder = params.get("encoder") or Variable.get("vizrec_encoder", default=None)
    named = [] if encoder is None else [f"embed.encoder={encoder}"]
    return [*named, *(pair.replace("{day}", day_of(context)) for pair in pairs)]


def embed_settings(context: Mapping[str, Any]) -> list[str]:
    """Those of section `embed`: no others stand in an event, which everybody may read."""
    return [pair for pair in overrides(context) if pair.startswith("embed.")]


def folder(root: str) -> ObjectStoragePath:
    """A folder of tables as Airflow reads it; Variable vizrec_storage_conn names the connection of an object store."""
    location = root if "://" in root else f"file://{root}"
    return ObjectStoragePath(location, conn_id=Variable.get("vizrec_storage_conn", default=None))


@pass_context
def _run_id(context: Any) -> str:
    return name_run(context["dag"].dag_id, day_of(context), context["run_id"])


def _log_version(record: Mapping[str, Any] | None) -> str:
    """The version of the log that job `holdout` has split. Raises: AirflowFailException where its task has not run."""
    if record is None:
        raise AirflowFailException(
            "Task split has left no record, so nobody knows which version of the log was split: clear it and all tasks "
            "behind it."
        )
    return str(int(record["metrics"]["interactions_version"]))


MACROS = {"vizrec_run_id": _run_id, "vizrec_log_version": _log_version}
