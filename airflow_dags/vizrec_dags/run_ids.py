"""The names of runs in the tables' history: the DAG, the day that the run is about, and Airflow's own run id."""

from __future__ import annotations

import re
from hashlib import sha256

# Jobs accept 128 letters: there is room for the part that tells two tasks of one run apart.
_LONGEST = 112
_REFUSED = re.compile(r"[^A-Za-z0-9_.:+-]")


def name_run(dag_id: str, day: str, airflow_run_id: str) -> str:
    """``<dag>.<day>.<Airflow's run id>`` in the letters that jobs accept.

    A name that has other letters, or too many, ends with a hash of the whole, so that no two runs share one.
    """
    name = f"{dag_id}.{day}.{airflow_run_id}"
    safe = _REFUSED.sub("_", name)
    if safe == name and len(name) <= _LONGEST:
        return name
    mark = sha256(name.encode()).hexdigest()[:16]
    return f"{safe[: _LONGEST - len(mark) - 1]}-{mark}"


def day_in(dag_id: str, run_id: str) -> str | None:
    """The day, as 2026-01-31, that a run of a DAG is about; None for an id of another kind."""
    found = re.fullmatch(rf"{re.escape(dag_id)}\.(\d{{4}}-\d\d-\d\d)\..+", run_id)
    return None if found is None else found[1]
