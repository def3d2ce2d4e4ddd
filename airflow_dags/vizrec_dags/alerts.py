"""Alerts: what has failed for good, or was held back, is told as JSON to the address in connection `vizrec_alerts`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import redact

from vizrec_dags.days import day_of

log = logging.getLogger(__name__)

CONNECTION = "vizrec_alerts"
# For each wait on the receiver (to connect, for the answer), while the slot of the task is held up; a name that is not
# found takes what the system takes.
_PATIENCE_S = 10
# A job that failed tells its command first, and last the lines that say why.
_HEAD, _TAIL = 500, 1_500
_CUT = "\n[...]\n"


class _Unusable(ValueError):
    """The connection has no address that could be posted to."""


class _NoRedirects(HTTPRedirectHandler):
    """A redirected POST would become a GET that says nothing, with the token, at an address that nobody has named."""

    def redirect_request(self, *_args: Any) -> None:
        """None: it is an error then."""


def tell_of_task(context: Mapping[str, Any]) -> None:
    """Tells of a task that will not be tried again. For `on_failure_callback` of a task."""
    _post(context, "has failed", lambda: _said(context.get("exception")))


def tell_of_skip(context: Mapping[str, Any], reason: str) -> None:
    """Tells that a task does nothing, and why."""
    _post(context, "was skipped", lambda: reason)


def tell_of_time_out(context: Mapping[str, Any]) -> None:
    """Tells of a run that was over its time limit. For `on_failure_callback` of a DAG.

    Its tasks are ended without a callback of theirs. Where a task has failed, that one has been told of already.
    """
    if context.get("reason") == "timed_out":
        _post(
            context, "has failed", lambda: "the run was over its time limit (dagrun_timeout)", of_task=False
        )


def _said(error: object) -> str:
    """Class and message: many a message says nothing without the class, and some are empty."""
    if error is None:
        return "it ended without a word"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _shortened(message: str) -> str:
    """Head and tail of what is too long."""
    if len(message) <= _HEAD + len(_CUT) + _TAIL:
        return message
    return message[:_HEAD] + _CUT + message[-_TAIL:]


def _post(context: Mapping[str, Any], what: str, why: Callable[[], str], of_task: bool = True) -> None:
    """Sends the alert, if there is somewhere to send it to. Never raises: what failed must be seen in any case."""
    try:
        address, token = _receiver()
        if address is None:
            return
        dag, run = context["dag"].dag_id, context["run_id"]
        task = context["ti"].task_id if of_task else None
        message = _shortened(str(redact(why())))
        told = {
            "text": f"{dag}{'' if task is None else '.' + task} {what}: {message}",
            "dag": dag,
            "task": task,
            "run": run,
            "day": day_of(context) if "params" in context else None,
            "message": message,
            "log_url": context["ti"].log_url if of_task else None,
        }
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }
        request = Request(address, json.dumps(told).encode(), headers)
        with build_opener(_NoRedirects).open(request, timeout=_PATIENCE_S):
            log.info("Told of it at the address of connection %s", CONNECTION)
    except Exception as error:
        log.warning(
            "The alert could not be sent to the address of connection %s: %s", CONNECTION, _why(error)
        )


def _why(error: Exception) -> str:
    """What went wrong, without the address: that of an incoming webhook is a secret, and errors like to repeat it."""
    if isinstance(error, _Unusable):
        return str(error)
    if isinstance(error, HTTPError):
        redirect = ", a redirect, which is not followed" if 300 <= error.code < 400 else ""
        return f"it answered with status {error.code}{redirect}"
    cause = error.reason if isinstance(error, URLError) else error
    told = cause.strerror if isinstance(cause, OSError) else None
    return type(cause).__name__ + (f": {told}" if told else "")


def _receiver() -> tuple[str | None, str | None]:
    """The address and the token of the connection; no address where there is no such connection.

    Raises: _Unusable for an address of another kind.
    """
    try:
        found = Connection.get(CONNECTION)
    except AirflowNotFoundException:
        return None, None
    if not (found.host or "").startswith(("http://", "https://")):
        raise _Unusable("its host must be the whole address, as https://host/path")
    return found.host, found.password
