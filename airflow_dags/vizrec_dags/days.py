"""The day that a run is about, and how far back its commits can lie."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

# daily_batch starts at this hour, UTC.
HOUR = 2
# As long Delta keeps the log of table `runs`.
LOG_KEPT = timedelta(days=30)


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
