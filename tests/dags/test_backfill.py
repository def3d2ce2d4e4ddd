"""A backfill as the page has it, under Airflow's real scheduler; jobs leave their commits and do no work."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.dags.conftest import Airflow, Receiver
from tests.dags.pretend import record
from tests.dags.scheduling import ENDED, Scheduled, prepare, running, unpause

pytestmark = [pytest.mark.scheduled, pytest.mark.timeout(3600)]

BACKFILL = ["--from-date", "2026-01-30", "--to-date", "2026-02-01", "--max-active-runs", "1"]


@pytest.fixture(scope="module")
def held(
    repository: Path, delta_log: ModuleType, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scheduled]:
    """An Airflow whose schedule is held, with all DAGs paused, and tables in which the pictures are embedded."""
    folder = tmp_path_factory.mktemp("held")
    airflow = Airflow(repository, folder / "home", repository / "conf" / "local.yml", folder / "tables")
    airflow.environment |= {
        "AIRFLOW_VAR_VIZREC_HOLD_SCHEDULE": "true",
        "AIRFLOW_CONN_VIZREC_ALERTS": receiver.connection,
    }
    submit = airflow.pretend(folder / "submit")
    record(airflow.tables, "embed", "by_hand", {"images_version": 0.0})
    prepare(airflow)
    with running(airflow):
        yield Scheduled(airflow, delta_log, submit)


def wait(held: Scheduled, come: Callable[[], bool], seconds: float = 1500) -> None:
    """Until it has come to that."""
    end = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < end, f"{held.runs('daily_batch')}\n{held.tail()}"
        time.sleep(1)


def backfilled(held: Scheduled) -> list[tuple[str, str]]:
    """Start of the interval and state of each run of the backfill, as the runs were started."""
    query = (
        "SELECT data_interval_start, state FROM dag_run WHERE run_type = 'backfill' ORDER BY start_date, id"
    )
    return [(start[:16], state) for start, state in held.rows(query)]


def await_scheduler(held: Scheduled, beats: int = 3) -> None:
    """Until the scheduler has been seen at work that many times from now on."""
    seen: set[str] = set()

    def beaten() -> bool:
        query = "SELECT latest_heartbeat FROM job WHERE job_type = 'SchedulerJob' AND state = 'running'"
        seen.update(str(beat) for (beat,) in held.rows(query))
        return len(seen) > beats

    wait(held, beaten)


def test_a_paused_dag_gets_no_run_and_a_held_schedule_lets_the_backfill_through(held: Scheduled) -> None:
    wait(held, lambda: bool(held.rows("SELECT 1 FROM serialized_dag WHERE dag_id = 'daily_batch'")))
    command = ["airflow", "backfill", "create", "--dag-id", "daily_batch", *BACKFILL]
    done = held.airflow.run(*command, "--dag-run-conf", json.dumps({"older_day": True}))
    assert done.returncode == 0, done.stderr[-4000:]
    days = ["2026-01-30 02:00", "2026-01-31 02:00"]
    # The scheduler is up, and has looked for something to do since.
    await_scheduler(held)
    assert sorted(backfilled(held)) == [(day, "queued") for day in days]
    unpause(held, "daily_batch", "weekly_maintain")
    wait(held, lambda: [state for _, state in backfilled(held)] == ["success"] * 2)
    assert backfilled(held) == [(day, "success") for day in days]
    # One after the other, each about its own day, and nothing of the schedule between them.
    ran = [line for line in held.started() if line.startswith("daily_batch.")]
    jobs = 4
    assert [run.split(".")[1] for run in ran] == ["2026-01-30"] * jobs + ["2026-01-31"] * jobs
    assert {event["days"][0] for event in held.events("vizrec_images")} == {"2026-01-30", "2026-01-31"}


def test_the_scheduled_run_was_skipped_and_told(held: Scheduled, receiver: Receiver) -> None:
    wait(
        held,
        lambda: any(kind == "scheduled" and state in ENDED for _, kind, state in held.runs("daily_batch")),
    )
    # There are two where 02:00 UTC was passed meanwhile.
    run_id, *_ = [run for run, kind, _ in held.runs("daily_batch") if kind == "scheduled"]
    states = {state for state, _ in held.tasks("daily_batch", run_id).values()}
    assert states == {"skipped"}
    [told] = [told for told in receiver.posted if told["run"] == run_id]
    assert (told["dag"], told["task"]) == ("daily_batch", "ingest")
    assert "was skipped: Variable vizrec_hold_schedule is true" in told["text"]


def test_upkeep_runs_by_its_own_schedule(held: Scheduled) -> None:
    wait(held, lambda: any(state in ENDED for _, _, state in held.runs("weekly_maintain")[:1]))
    (run_id, kind, state), *_ = held.runs("weekly_maintain")
    assert (kind, state) == ("scheduled", "success"), held.tail()
    assert held.record("maintain", held.named("weekly_maintain", run_id)).outcome == "done"


def test_a_task_that_fails_under_the_scheduler_is_told(held: Scheduled, receiver: Receiver) -> None:
    (held.submit / "refused").write_text("0.9", encoding="utf-8")
    conf = json.dumps({"day": "2026-02-01"})
    done = held.airflow.run("airflow", "dags", "trigger", "daily_batch", "--run-id", "bad", "--conf", conf)
    assert done.returncode == 0, done.stderr[-4000:]
    wait(held, lambda: ("bad", "manual", "failed") in held.runs("daily_batch"))
    [told] = [told for told in receiver.posted if told["run"] == "bad"]
    assert (told["task"], told["run"], told["day"]) == ("check_quarantine", "bad", "2026-02-01")
    assert "interactions 90.0%" in told["message"]
