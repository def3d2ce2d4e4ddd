"""A real Airflow under test: its API server, DAG processor and scheduler as processes, and what its database says."""

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

from tests.dags.conftest import Airflow

PATIENCE = 5400
ENDED = {"success", "failed"}


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
        await_server(f"http://localhost:{port}/execution/health")
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


def await_server(url: str) -> None:
    end = time.monotonic() + 900
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return str(taken.getsockname()[1])


def prepare(airflow: Airflow) -> None:
    """The database, the pool, and settings under which a machine that does other things too may be slow to answer."""
    port = free_port()
    airflow.environment |= {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{port}/execution/",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": free_port(),
        "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": "86400",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "300",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "7200",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "7200",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "7200",
    }
    make_database(airflow)


def make_database(airflow: Airflow) -> None:
    """The metadata database, and the pool of the jobs."""
    for command in (["db", "migrate"], ["pools", "set", "vizrec_spark", "1", "Spark jobs at once"]):
        done = airflow.run("airflow", *command)
        assert done.returncode == 0, done.stderr[-4000:]


def unpause(found: Scheduled, *dags: str) -> None:
    """As soon as the DAG processor has found the DAGs."""
    end = time.monotonic() + 900
    while len(found.rows("SELECT 1 FROM dag")) < 4:
        assert time.monotonic() < end, found.tail()
        time.sleep(1)
    done = found.airflow.run("airflow", "dags", "unpause", "-y", "--treat-dag-id-as-regex", "|".join(dags))
    assert done.returncode == 0, done.stderr[-4000:]
