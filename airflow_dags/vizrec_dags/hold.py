"""The held schedule: while Variable `vizrec_hold_schedule` is true, scheduled runs do nothing, and each tells so."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from vizrec_dags.alerts import tell_of_skip

VARIABLE = "vizrec_hold_schedule"
_MEANS = {"true": True, "false": False}


def skip_if_held(context: Any, _tables: str = "") -> None:
    """Before the first job of a run: skips it, and so all tasks behind it, where the schedule held it back.

    Runs of a backfill, of an event or of a person go through. Raises: AirflowSkipException, when that was told as
    alerts are; AirflowFailException for a Variable that says neither true nor false.
    """
    if context["dag_run"].run_type != "scheduled":
        return
    said = Variable.get(VARIABLE, default="false")
    held = _MEANS.get(str(said).strip().lower())
    if held is None:
        raise AirflowFailException(
            f"Variable {VARIABLE} must be true or false, and is {said!r}: set it, or delete it, and clear this task."
        )
    if held:
        reason = f"Variable {VARIABLE} is true: scheduled runs do nothing until it is deleted."
        tell_of_skip(context, reason)
        raise AirflowSkipException(reason)
