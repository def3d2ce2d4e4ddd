"""Each DAG really run: Airflow's scheduler, its executor, spark-submit, and the generated shop; and what goes wrong."""

from __future__ import annotations

import json
import secrets
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import INTERPRETED
from tests.dags.conftest import Airflow
from tests.jobs.conftest import SHORT_LIVED
from vizrec_spark.app.folder import folder_overrides
from vizrec_spark.config import load_config, save_config, setting
from vizrec_spark.demo import write_shop

pytestmark = [pytest.mark.scheduled, pytest.mark.timeout(7200)]

PATIENCE = 5400
ENDED = {"success", "failed"}
TRAINING = ["tune", "train", "train_current", "recommend", "recommend_current"]

# The real spark-submit, unless a file beside it says what is to go wrong with a job.
SUBMIT = """#!/usr/bin/env bash
here=$(dirname "$0")
job=$(grep -oE 'jobs/[a-z]+' <<< "$*" | head -n 1 | cut -d / -f 2)
echo "$job" >> "$here/started"
case "$(cat "$here/fault_$job" 2>/dev/null)" in
  lost) exit 0 ;;                # the driver is gone before it has done anything
  unseen) "{real}" "$@"; exit 137 ;;  # it has done everything, and nobody saw it end
esac
exec "{real}" "$@"
"""


@dataclass
class Scheduled:
    """An Airflow that has run the DAGs, and what it and the tables hold."""

    airflow: Airflow
    log: ModuleType
    submit: Path
    held: subprocess.CompletedProcess[str] | None = None

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the metadata database."""
        file = self.airflow.home / "airflow.db"
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60) as database:
            return database.execute(query, values).fetchall()

    def runs(self, dag: str) -> list[tuple[str, str, str]]:
        """Run id, type and state, the oldest first."""
        return self.rows("SELECT run_id, run_type, state FROM dag_run WHERE dag_id = ? ORDER BY id", dag)

    def named(self, dag: str, run_id: str) -> str:
        """The run's name in the tables: its day is that of its interval, or of the last `daily_batch` had before it."""
        query = "SELECT data_interval_start, run_after FROM dag_run WHERE dag_id = ? AND run_id = ?"
        [(start, run_after)] = self.rows(query, dag, run_id)
        day = datetime.fromisoformat(start or run_after) - timedelta(hours=0 if start else 26)
        return f"{dag}.{day:%Y-%m-%d}.{run_id}"

    def tasks(self, dag: str, run_id: str) -> dict[str, tuple[str, int]]:
        """State and number of tries by task."""
        found = self.rows(
            "SELECT task_id, state, try_number FROM task_instance WHERE dag_id = ? AND run_id = ?",
            dag,
            run_id,
        )
        return {task: (state, tries) for task, state, tries in found}

    def events(self, asset: str) -> list[dict[str, Any]]:
        """The extra of each event of an asset."""
        found = self.rows(
            "SELECT e.extra FROM asset_event e JOIN asset a ON a.id = e.asset_id WHERE a.name = ? ORDER BY e.id",
            asset,
        )
        return [json.loads(extra) for (extra,) in found]

    def started(self) -> list[str]:
        """The jobs that spark-submit was called for, in order."""
        return (self.submit / "started").read_text(encoding="utf-8").split()

    def record(self, stage: str, run_id: str, root: str = "") -> Any:
        """What table `runs` says."""
        return self.log.record_of(Path(f"{self.airflow.tables}{root}"), run_id, stage)

    def versions(self) -> dict[str, int]:
        """The latest version of every live table."""
        return {table.name: self.log.versions(table)[0] for table in sorted(self.airflow.tables.iterdir())}

    def wait_for(self, dag: str) -> None:
        """Until the first run of a DAG has ended well."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            states = [state for _, _, state in self.runs(dag)]
            if states and states[0] in ENDED:
                break
            time.sleep(2)
        [(run_id, _, state), *_] = self.runs(dag) or [("none", "", "none")]
        assert state == "success", f"{dag} {run_id}: {state}, {self.tasks(dag, run_id)}\n{self.tail()}"

    def tail(self) -> str:
        """The end of what the components printed."""
        return "\n".join(
            f"== {file.name}\n" + "\n".join(file.read_text(errors="replace").splitlines()[-60:])
            for file in sorted(self.airflow.home.glob("*.out"))
        )


@contextmanager
def running(airflow: Airflow) -> Iterator[None]:
    """The API server, the DAG processor and the scheduler with its LocalExecutor, until the body ends."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> None:
        with (airflow.home / f"{name}.out").open("wb") as out:
            command = [str(airflow.bin / "airflow"), name, *arguments]
            processes.append(
                subprocess.Popen(
                    command,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=airflow.environment,
                    cwd=airflow.home,
                    start_new_session=True,
                )
            )

    try:
        port = airflow.environment["AIRFLOW__API__PORT"]
        start("api-server", "--apps", "execution")
        _await_server(f"http://localhost:{port}/execution/health")
        start("dag-processor")
        start("scheduler")
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_server(url: str) -> None:
    end = time.monotonic() + 900
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def _free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return str(taken.getsockname()[1])


def _shop(folder: Path) -> Path:
    """A small generated shop, and the configuration for it.

    With one trial the candidate has the settings in service, and its lists are theirs: not worse, whatever the draw.
    """
    write_shop(folder / "landing", n_items=120, n_users=90, n_events=3600)
    pairs = [
        *folder_overrides(folder / "landing"),
        setting("embed.cache", str(folder / "encoders")),
        *("als.rank=8", "als.iterations=4", setting("als.checkpoint_dir", str(folder / "checkpoints"))),
        *("tune.trials=1", setting("tune.output", str(folder / "tuned.yml"))),
        *("evaluate.replicates=200", setting("evaluate.gate.output", str(folder / "gate.json"))),
        setting("report.path", str(folder / "report.html")),
    ]
    return save_config(load_config(None, pairs), folder / "shop.yml")


@pytest.fixture(scope="module")
def scheduled(repository: Path, delta_log: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Scheduled:
    folder = tmp_path_factory.mktemp("scheduled")
    airflow = Airflow(repository, folder / "home", _shop(folder), folder / "tables")
    port = _free_port()
    submit = folder / "submit"
    submit.mkdir()
    (submit / "spark-submit").write_text(
        SUBMIT.format(real=repository / ".venv" / "bin" / "spark-submit"), encoding="utf-8"
    )
    (submit / "spark-submit").chmod(0o755)
    (submit / "fault_similar").write_text("unseen", encoding="utf-8")
    airflow.environment |= {
        # Not the configuration's: it gets to where pictures are embedded only if the DAGs hand it on.
        "AIRFLOW_VAR_VIZREC_ENCODER": "efficientnet_lite0",
        "PATH": f"{submit}:{airflow.environment['PATH']}",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{port}/execution/",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": _free_port(),
        "SPARK_SUBMIT_OPTS": " ".join(
            [
                SHORT_LIVED["SPARK_SUBMIT_OPTS"],
                *(f"-D{key}={value}" for key, value in INTERPRETED.items()),
                # A machine that does other things too may be slow to answer, Spark's executors among them.
                "-Dspark.network.timeout=7200s",
            ]
        ),
        "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": "86400",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "300",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "7200",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "7200",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "7200",
    }
    for command in (["db", "migrate"], ["pools", "set", "vizrec_spark", "1", "Spark jobs at once"]):
        done = airflow.run("airflow", *command)
        assert done.returncode == 0, done.stderr[-4000:]
    found = Scheduled(airflow, delta_log, submit)
    with running(airflow):
        _unpause(found, "daily_batch", "incremental_embed")
        found.wait_for("daily_batch")
        found.wait_for("incremental_embed")
        _unpause(found, "weekly_retrain")
        found.wait_for("weekly_retrain")
    return found


def _unpause(found: Scheduled, *dags: str) -> None:
    """As soon as the DAG processor has found the DAGs."""
    end = time.monotonic() + 900
    while len(found.rows("SELECT 1 FROM dag")) < 3:
        assert time.monotonic() < end, found.tail()
        time.sleep(1)
    done = found.airflow.run("airflow", "dags", "unpause", "-y", "--treat-dag-id-as-regex", "|".join(dags))
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_day_goes_through_and_its_pictures_start_the_embedding(scheduled: Scheduled) -> None:
    run_id, kind, _ = scheduled.runs("daily_batch")[0]
    assert kind == "scheduled"
    states = scheduled.tasks("daily_batch", run_id)
    assert {state for state, _ in states.values()} == {"success"} and len(states) == 8
    [images] = scheduled.events("vizrec_images")
    run = scheduled.named("daily_batch", run_id)
    record = scheduled.record("ingest", run)
    assert (images["version"], images["rows"]) == (
        record.tables["images"]["version"],
        record.tables["images"]["rows"],
    )
    assert images["settings"] == ["embed.encoder=efficientnet_lite0"] and images["days"] == [
        run.split(".")[1]
    ]
    # Nobody started the second but the event, and it took the event's day.
    [(embed_run, embed_kind, state)] = scheduled.runs("incremental_embed")
    assert (embed_kind, state) == ("asset_triggered", "success")
    embed_run = f"{scheduled.named('incremental_embed', embed_run)}.0"
    embedded = scheduled.record("embed", embed_run)
    assert (
        embedded.encoder == record.encoder and json.loads(record.encoder)["encoder"] == "efficientnet_lite0"
    )
    assert embedded.tables["embeddings"]["rows"] > 100
    assert embedded.metrics["images_version"] == images["version"]
    [embeddings] = scheduled.events("vizrec_embeddings")
    assert embeddings["days"] == images["days"] and embeddings["run_id"] == embed_run
    # The look-alikes are those of the new pictures.
    similar = scheduled.record("similar", run)
    assert similar.tables["compared_items"]["rows"] > 100
    [lists] = scheduled.events("vizrec_recommendations")
    assert lists["rows"] == 90 * 20
    assert (scheduled.airflow.home.parent / "report.html").is_file()


def test_a_driver_whose_end_nobody_saw_is_not_taken_for_a_failure(scheduled: Scheduled) -> None:
    run_id, *_ = scheduled.runs("daily_batch")[0]
    assert scheduled.tasks("daily_batch", run_id)["similar"] == ("success", 1)
    assert scheduled.started().count("similar") == 1


def test_a_driver_that_was_lost_is_seen_though_its_exit_code_is_good(scheduled: Scheduled) -> None:
    (scheduled.submit / "fault_report").write_text("lost", encoding="utf-8")
    done = scheduled.airflow.run("airflow", "tasks", "test", "daily_batch", "report", "2026-01-31")
    # `tasks test` ends with 0 whatever the task does.
    assert "the driver was lost" in done.stdout + done.stderr


def test_a_task_that_is_repeated_starts_and_changes_nothing(
    scheduled: Scheduled, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, *_ = scheduled.runs("daily_batch")[0]
    versions, started = scheduled.versions(), scheduled.started()
    monkeypatch.setitem(scheduled.airflow.environment, "AIRFLOW__LOGGING__LOGGING_LEVEL", "INFO")
    done = scheduled.airflow.run("airflow", "tasks", "test", "daily_batch", "recommend", run_id)
    assert "is committed: nothing is started" in done.stdout + done.stderr
    assert (scheduled.versions(), scheduled.started()) == (versions, started)


def test_an_older_day_does_not_take_the_place_of_a_newer_one(scheduled: Scheduled) -> None:
    versions, started = scheduled.versions(), scheduled.started()
    done = scheduled.airflow.run(
        "airflow", "dags", "test", "daily_batch", "--conf", json.dumps({"day": "2020-01-01"})
    )
    assert done.returncode != 0
    assert "and this run is about 2020-01-01" in done.stdout + done.stderr
    run_id, _, state = scheduled.runs("daily_batch")[-1]
    states = scheduled.tasks("daily_batch", run_id)
    assert state == "failed" and states.pop("ingest")[0] == "failed"
    assert {state for state, _ in states.values()} == {"upstream_failed"}
    assert (scheduled.versions(), scheduled.started()) == (versions, started)


def test_the_week_tunes_measures_and_promotes(scheduled: Scheduled) -> None:
    run_id, kind, _ = scheduled.runs("weekly_retrain")[0]
    assert kind == "scheduled"
    states = scheduled.tasks("weekly_retrain", run_id)
    assert {state for state, _ in states.values()} == {"success"} and len(states) == 10
    run = scheduled.named("weekly_retrain", run_id)
    assert scheduled.record("holdout", run).metrics["interactions_version"] >= 0
    assert scheduled.record("tune", run, "_training").metrics["trials"] == 1
    assert scheduled.record("evaluate", run).outcome == "done"
    promoted = scheduled.record("promote", run)
    assert promoted.tables["promotions"]["rows"] == 1
    [model] = scheduled.events("vizrec_model")
    assert (model["run_id"], model["version"]) == (run, promoted.tables["promotions"]["version"])
    # Each split, training and measurement once.
    started = scheduled.started()
    times = {job: started.count(job) for job in ("holdout", "tune", "als", "evaluate", "promote")}
    assert times == {"holdout": 1, "tune": 1, "als": 2, "evaluate": 1, "promote": 1}


def test_a_rejected_candidate_publishes_nothing_and_the_old_model_stays(scheduled: Scheduled) -> None:
    before, events = scheduled.versions(), scheduled.events("vizrec_model")
    done = scheduled.airflow.run(
        *("airflow", "dags", "test", "weekly_retrain", "--conf", json.dumps({"minimum": 0.99})),
        # What was trained and listed above is what it would be again.
        *("--mark-success-pattern", f"^({'|'.join(TRAINING)})$"),
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    run_id, kind, state = scheduled.runs("weekly_retrain")[-1]
    assert (kind, state) == ("manual", "success")
    states = {task: state for task, (state, _) in scheduled.tasks("weekly_retrain", run_id).items()}
    assert (states["evaluate"], states["gate"]) == ("success", "success")
    assert (states["promote"], states["publish_model"]) == ("skipped", "skipped")
    run = scheduled.named("weekly_retrain", run_id)
    window = scheduled.record("holdout", run).metrics["interactions_version"]
    assert window == scheduled.versions()["interactions"]
    record = scheduled.record("evaluate", run)
    assert record.outcome == "held" and "the limit is 0.9900" in record.notes[0]
    after = scheduled.versions()
    assert {name for name, version in after.items() if version != before.get(name)} == {
        "metrics",
        "worst_lists",
        "runs",
    }
    assert scheduled.events("vizrec_model") == events
