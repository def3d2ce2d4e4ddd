"""Where everything is, and how tasks behave: Airflow's Variables, the Spark connection, the pool, the assets.

The DAGs know job paths and table names, and nothing else of the project.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, Connection, ObjectStoragePath, Param, Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException
from jinja2 import pass_context

from vizrec_dags.alerts import tell_of_task
from vizrec_dags.days import day_of
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
    "on_failure_callback": tell_of_task,
}
# For tasks that only read a few small files, or publish.
SHORT = timedelta(minutes=10)
# A run of incremental_embed; who waits for it may have to wait for the one before it too.
EMBEDDING = timedelta(hours=26)
EMBEDDED = 2 * EMBEDDING

# What Airflow reads each kind of path with.
_NEEDED = {
    "s3a": "apache-airflow-providers-amazon[s3fs]",
    "abfss": "apache-airflow-providers-microsoft-azure",
    "gs": "apache-airflow-providers-google",
    "hdfs": "pyarrow, and a Hadoop client with libhdfs (HADOOP_HOME, CLASSPATH)",
}

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
        items={"type": "string", "pattern": r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+=.*$"},
        description="Keys of conf/base.yml for this run: section.key=value. They win over Variable vizrec_settings.",
    ),
}


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
    """A folder of tables as Airflow reads it; Variable vizrec_storage_conn names the connection of an object store.

    Raises: AirflowFailException, with what to install, where Airflow cannot read paths of this kind, and for a
    connection that is not defined; AirflowException, which is tried again, where the store could not be reached.
    """
    scheme = root.partition("://")[0] if "://" in root else "file"
    location, options = _for_airflow(root)
    # No provider has connections for HDFS: fsspec's own client reads it, by Hadoop's settings.
    conn = None if scheme == "hdfs" else Variable.get("vizrec_storage_conn", default=None)
    if conn is not None:
        _must_be_defined(conn)
    try:
        path = ObjectStoragePath(location, conn_id=conn, **({} if conn else options))
        # Now, and by the connection: a path whose connection failed would go on without it, and say nothing.
        _ = path.__wrapped__.fs if conn is None else path.fs
    except (ImportError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        if not _lacks_software(scheme, error):
            raise AirflowException(
                f"Airflow cannot read {root}: the store could not be reached ({reason}). The task may be tried again."
            ) from error
        needed = _NEEDED.get(scheme, f"a provider for {scheme}://; known are {', '.join(_NEEDED)}")
        raise AirflowFailException(
            f"Airflow cannot read {root} ({reason}). Its workers need {needed}; see docs/operations.md, Installation."
        ) from error
    return path


def _must_be_defined(conn: str) -> None:
    """Not every provider says so: some go on with what access the worker itself has."""
    try:
        Connection.get(conn)
    except AirflowNotFoundException as error:
        raise AirflowFailException(
            f"Variable vizrec_storage_conn names connection {conn}, which is not defined: add it, or delete the "
            "Variable."
        ) from error


def _lacks_software(scheme: str, error: Exception) -> bool:
    """Whether a package or a library is missing; otherwise it is the store that did not answer.

    A scheme that nobody reads is a ValueError; so is, with some clients, a connection that fails. A missing libhdfs is
    an OSError.
    """
    if isinstance(error, ImportError):
        return True
    said = str(error).lower()
    if isinstance(error, OSError):
        return "libhdfs" in said or "libjvm" in said
    return scheme not in _NEEDED or "protocol not known" in said or "no filesystem registered" in said


def _for_airflow(root: str) -> tuple[str, dict[str, Any]]:
    """The address of a folder for fsspec, and the options of its file system where no connection brings them.

    What stands before an @ is a container to Hadoop, and the id of a connection to Airflow. adlfs asks
    without an identity unless told (`anon`), and of the account's blob endpoint, which it takes to be in the public
    cloud.
    """
    if "://" not in root:
        return f"file://{root}", {}
    azure = re.fullmatch(r"(abfss?)://([^@/]+)@([^./]+)(\.[^/]*)?(/.*)?", root)
    if azure is None:
        return root, {}
    scheme, container, account, suffix, path = azure.groups()
    options: dict[str, Any] = {"account_name": account, "anon": False}
    if suffix not in (None, ".dfs.core.windows.net"):
        options["account_host"] = account + re.sub(r"^\.dfs\.", ".blob.", suffix)
    return f"{scheme}://{container}{path or ''}", options


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
