"""What fails is told, and stays failed; runs without a scheduler. No Spark: jobs leave their commits alone."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from tests.dags.conftest import Airflow, Receiver
from tests.dags.pretend import record
from tests.dags.scheduling import Scheduled, free_port, make_database

CONNECTION = "AIRFLOW_CONN_VIZREC_ALERTS"


@pytest.fixture(scope="module")
def pretended(repository: Path, delta_log: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Scheduled:
    folder = tmp_path_factory.mktemp("pretended")
    airflow = Airflow(repository, folder / "home", repository / "conf" / "local.yml", folder / "tables")
    airflow.environment["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "INFO"
    submit = airflow.pretend(folder / "submit")
    # So that nobody has to wait for embeddings.
    record(airflow.tables, "embed", "by_hand", {"images_version": 0.0})
    make_database(airflow)
    return Scheduled(airflow, delta_log, submit)


def run_day(pretended: Scheduled, day: str, **params: object) -> tuple[str, dict[str, str], str]:
    """A run of `daily_batch` to its end; its id, its tasks' states, and what was printed."""
    conf = json.dumps({"day": day, "older_day": True, **params})
    done = pretended.airflow.run("airflow", "dags", "test", "daily_batch", "--conf", conf)
    run_id = pretended.runs("daily_batch")[-1][0]
    states = {task: state for task, (state, _) in pretended.tasks("daily_batch", run_id).items()}
    return run_id, states, done.stdout + done.stderr


def test_too_much_in_quarantine_publishes_no_pictures_and_is_told(
    pretended: Scheduled, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pretended.airflow.environment, CONNECTION, receiver.connection)
    (pretended.submit / "refused").write_text("0.314", encoding="utf-8")
    run_id, states, _ = run_day(pretended, "2026-01-30")
    assert states.pop("ingest") == "success" and states.pop("check_quarantine") == "failed"
    assert set(states.values()) == {"upstream_failed"}
    assert pretended.events("vizrec_images") == []
    assert pretended.started() == ["ingest", f"daily_batch.2026-01-30.{run_id}"]
    [told], [token] = receiver.posted, receiver.tokens
    assert token == "Bearer t0"
    assert {name: told[name] for name in ("dag", "task", "run", "day")} == {
        "dag": "daily_batch",
        "task": "check_quarantine",
        "run": run_id,
        "day": "2026-01-30",
    }
    assert told["message"].startswith(
        "AirflowFailException: More than 20.0% in quarantine: interactions 31.4%."
    )
    assert "mend the files, or start a run with a larger max_quarantined" in told["message"]
    assert told["text"] == f"daily_batch.check_quarantine has failed: {told['message']}"
    assert f"/dags/daily_batch/runs/{run_id}".replace(":", "%3A").replace("+", "%2B") in told["log_url"]


def test_a_larger_share_lets_the_same_files_pass(pretended: Scheduled) -> None:
    (pretended.submit / "refused").write_text("0.314", encoding="utf-8")
    _, states, printed = run_day(pretended, "2026-01-31", max_quarantined=0.5)
    assert set(states.values()) == {"success"}, printed[-4000:]
    [images] = pretended.events("vizrec_images")
    assert images["days"] == ["2026-01-31"]


@pytest.mark.parametrize("host", ["http://localhost:{free}/hook", "localhost"])
def test_an_address_that_cannot_be_reached_hides_no_failure(
    pretended: Scheduled, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    connection = json.dumps({"conn_type": "http", "host": host.format(free=free_port())})
    monkeypatch.setitem(pretended.airflow.environment, CONNECTION, connection)
    (pretended.submit / "refused").write_text("0.5", encoding="utf-8")
    _, states, printed = run_day(pretended, "2026-02-01")
    assert states["check_quarantine"] == "failed" and states["publish_images"] == "upstream_failed"
    assert "More than 20.0% in quarantine: interactions 50.0%." in printed
    assert "The alert could not be sent" in printed


def test_a_run_over_its_limit_is_told_once(
    pretended: Scheduled, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.posted.clear()
    for connection in (receiver.connection, None):  # and without one nothing is said
        if connection is None:
            monkeypatch.delitem(pretended.airflow.environment, CONNECTION)
        else:
            monkeypatch.setitem(pretended.airflow.environment, CONNECTION, connection)
        assert "could not be sent" not in tell(pretended, "over_the_limit")
    [told] = receiver.posted
    assert (told["dag"], told["task"], told["run"]) == ("daily_batch", None, "manual__1")
    assert "over its time limit" in told["text"]


def test_a_job_that_left_something_out_is_not_done_and_runs_again(pretended: Scheduled) -> None:
    for words in (
        ["dags", "reserialize"],
        ["dags", "trigger", "weekly_maintain", "--run-id", "partly", "--conf", '{"day": "2026-02-02"}'],
    ):
        done = pretended.airflow.run("airflow", *words)
        assert done.returncode == 0, done.stderr[-4000:]
    run = "weekly_maintain.2026-02-02.partly"

    def maintain() -> str:
        done = pretended.airflow.run("airflow", "tasks", "test", "weekly_maintain", "maintain", "partly")
        return done.stdout + done.stderr

    (pretended.submit / "partial").touch()
    assert "Error code is: 4." in maintain()
    assert pretended.record("maintain", run) is None
    (pretended.submit / "partial").unlink()
    printed = maintain()
    assert pretended.record("maintain", run).outcome == "done", printed[-4000:]
    assert "is committed: nothing is started" in maintain()
    assert pretended.started().count(run) == 2


@pytest.mark.parametrize(("code", "final"), [(2, True), (3, True), (9, False), (69, False)])
def test_what_stays_wrong_is_not_tried_again(pretended: Scheduled, code: int, final: bool) -> None:
    (pretended.submit / "code").write_text(str(code), encoding="utf-8")
    try:
        done = pretended.airflow.run(
            "airflow", "tasks", "test", "weekly_maintain", "maintain", f"2026-03-{code % 28 + 1:02d}"
        )
    finally:
        (pretended.submit / "code").unlink()
    printed = done.stdout + done.stderr
    assert f"rror code is: {code}." in printed, printed[-4000:]
    # Airflow's own word for "no retry, whatever the retries of the task".
    assert ("AirflowFailException" in printed) is final
    assert (
        f"maintain ended with exit code {code}: " in printed and "Trying again will not help" in printed
    ) is final


def tell(pretended: Scheduled, what: str) -> str:
    """Calls a function of `telling.py`; all that it printed."""
    done = pretended.airflow.run("python", str(Path(__file__).with_name("telling.py")), what)
    assert done.stdout.splitlines()[-1] == "done", done.stderr[-4000:]
    return done.stdout + done.stderr


def test_an_alert_tells_class_head_and_last_lines(
    pretended: Scheduled, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.posted.clear()
    monkeypatch.setitem(pretended.airflow.environment, CONNECTION, receiver.connection)
    tell(pretended, "failed")
    long, *short = [told["message"] for told in receiver.posted]
    assert long.startswith("AirflowException: Cannot execute: word word") and "\n[...]\n" in long
    assert "Error code is: 1." in long and long.endswith(
        "\n".join(f"line {at} of the driver" for at in range(20))
    )
    assert len(long) < 2_100
    assert short == ["KeyError: 'images_version'", "TimeoutError", "it ended without a word"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_log_keeps_the_address(
    pretended: Scheduled, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    receiver.posted.clear()
    connection = receiver.at(f"/moved/{status}/s3cr3t?key=s3cr3t")
    monkeypatch.setitem(pretended.airflow.environment, CONNECTION, connection)
    printed = tell(pretended, "over_the_limit")
    assert f"it answered with status {status}, a redirect, which is not followed" in printed
    assert (receiver.posted, receiver.got) == ([], []) and "s3cr3t" not in printed


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("http://localhost:{free}/s3cr3t?key=s3cr3t", "ConnectionRefusedError: Connection refused"),
        ("http://localhost:s3cr3t/hook", "InvalidURL"),
        ("http://localhost:{free}/s3cr3t with a space", "InvalidURL"),
        ("s3cr3t.example.com", "its host must be the whole address"),
    ],
)
def test_what_the_log_says_of_an_address_that_fails_does_not_repeat_it(
    pretended: Scheduled, monkeypatch: pytest.MonkeyPatch, host: str, told: str
) -> None:
    connection = json.dumps({"conn_type": "http", "host": host.format(free=free_port())})
    monkeypatch.setitem(pretended.airflow.environment, CONNECTION, connection)
    printed = tell(pretended, "over_the_limit")
    assert f"could not be sent to the address of connection vizrec_alerts: {told}" in printed
    assert "s3cr3t" not in printed


def test_a_held_schedule_skips_scheduled_runs_and_each_is_told(
    pretended: Scheduled, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.posted.clear()
    monkeypatch.setitem(pretended.airflow.environment, CONNECTION, receiver.connection)
    lines = [line.split("|") for line in tell(pretended, "held").splitlines() if line.startswith("held|")]
    became = {(said, kind): what for _, said, kind, what in lines}
    assert {what for (_, kind), what in became.items() if kind != "scheduled"} == {"runs"}
    scheduled = {said: what for (said, kind), what in became.items() if kind == "scheduled"}
    assert [scheduled.pop(said) for said in ("None", "false", "true", "True")] == ["runs"] * 2 + [
        "skipped"
    ] * 2
    assert set(scheduled) == {"no", ""}
    for said, what in scheduled.items():
        assert what.startswith(
            f"failed: Variable vizrec_hold_schedule must be true or false, and is {said!r}"
        )
    assert [(told["dag"], told["task"], told["run"], told["day"]) for told in receiver.posted] == [
        ("daily_batch", "ingest", "scheduled__1", "2026-01-31")
    ] * 2
    assert receiver.posted[0]["text"].startswith(
        "daily_batch.ingest was skipped: Variable vizrec_hold_schedule"
    )


def test_the_backfill_of_the_page_makes_a_run_for_each_of_its_days(
    pretended: Scheduled, repository: Path
) -> None:
    page = (repository / "docs" / "operations.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^airflow backfill create .*$", page, re.MULTILINE)
    [conf] = re.findall(r"--dag-run-conf '(.*)'", command)
    assert pretended.airflow.run("airflow", "dags", "reserialize").returncode == 0
    words = [*command.partition(" --dag-run-conf")[0].split(), "--dag-run-conf", conf, "--dry-run"]
    done = pretended.airflow.run(*words)
    assert done.returncode == 0, done.stderr[-4000:]
    starts = re.findall(r"\| (\d{4}-\d\d-\d\d \d\d:\d\d):\d\d", done.stdout)
    first = date(2026, 1, 1)
    assert starts == [f"{first + timedelta(days=day)} 02:00" for day in range(31)], done.stdout[-4000:]
