"""Alerts: what has failed for good is told, as JSON, to the address in Airflow's connection `vizrec_alerts`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.request import Request, urlopen

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import redact

from vizrec_dags.days import day_of

log = logging.getLogger(__name__)

CONNECTION = "vizrec_alerts"
# A receiver that does not answer holds up the slot of the task that has failed.
_PATIENCE_S = 10
_LONGEST = 2_000


def tell_of_task(context: Mapping[str, Any]) -> None:
    """Tells of a task that will not be tried again. For `on_failure_callback` of a task."""
    task, reason = context["ti"], context.get("exception") or context.get("reason")
    _post(context, task.task_id, str(reason or "it ended without a word"), task.log_url)


def tell_of_time_out(context: Mapping[str, Any]) -> None:
    """Tells of a run that was over its time limit. For `on_failure_callback` of a DAG.

    Its tasks are ended without a callback of theirs. Where a task has failed, that one has been told of already.
    """
    if context.get("reason") == "timed_out":
        _post(context, None, "the run was over its time limit (dagrun_timeout)", None)


def _post(context: Mapping[str, Any], task: str | None, message: str, log_url: str | None) -> None:
    """Sends the alert, if there is somewhere to send it to. Never raises: what failed must be seen in any case."""
    try:
        address, token = _receiver()
        if address is None:
            return
        dag, run = context["dag"].dag_id, context["run_id"]
        message = str(redact(message))[:_LONGEST]
        told = {
            "text": f"{dag}{'' if task is None else '.' + task} has failed: {message}",
            "dag": dag,
            "task": task,
            "run": run,
            "day": day_of(context) if "params" in context else None,
            "message": message,
            "log_url": log_url,
        }
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }
        with urlopen(Request(address, json.dumps(told).encode(), headers), timeout=_PATIENCE_S):
            log.info("Told of it at the address of connection %s", CONNECTION)
    except Exception as error:
        log.warning("The alert could not be sent to the address of connection %s: %s", CONNECTION, error)


def _receiver() -> tuple[str | None, str | None]:
    """The address and the token of the connection; no address where there is no such connection.

    Raises: ValueError for an address of another kind.
    """
    try:
        found = Connection.get(CONNECTION)
    except AirflowNotFoundException:
        return None, None
    if not (found.host or "").startswith(("http://", "https://")):
        raise ValueError("its host must be the whole address, as https://host/path")
    return found.host, found.password
