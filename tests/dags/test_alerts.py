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
    assert told["message"].startswith("More than 20.0% in quarantine: interactions 31.4%.")
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
        done = pretended.airflow.run("python", str(Path(__file__).with_name("telling.py")))
        assert done.stdout.splitlines()[-1] == "done", done.stderr[-4000:]
        assert "could not be sent" not in done.stdout + done.stderr
    [told] = receiver.posted
    assert (told["dag"], told["task"], told["run"]) == ("daily_batch", None, "manual__1")
    assert "over its time limit" in told["text"]


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
