"""Airflow lives in an environment of its own, beside the one that runs the tests: it is spoken to as a process."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.jobs.conftest import SHORT_LIVED

PROBE = Path(__file__).with_name("probe.py")
PRETEND = Path(__file__).with_name("pretend.py")


class Airflow:
    """An Airflow with a home, a configuration and a metadata database of its own."""

    def __init__(self, repository: Path, home: Path, config: Path, tables: Path) -> None:
        self.home, self.tables = home, tables
        self.bin = repository / ".venv-airflow" / "bin"
        if not (self.bin / "airflow").is_file():
            pytest.fail(
                "Airflow's environment is missing: `make env-airflow` makes it, and so does `make test`."
            )
        home.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        kept.pop("PYSPARK_PYTHON", None)
        self.environment = {
            **kept,
            **SHORT_LIVED,
            # spark-submit, and the Python of its drivers and workers, are the project's.
            "PATH": f"{repository / '.venv' / 'bin'}:{os.environ['PATH']}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(repository / "airflow_dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW_CONN_VIZREC_SPARK": json.dumps({"conn_type": "spark", "host": "local[2]"}),
            "AIRFLOW_VAR_VIZREC_HOME": str(repository),
            "AIRFLOW_VAR_VIZREC_CONFIG": str(config),
            "AIRFLOW_VAR_VIZREC_TABLES": str(tables),
        }

    def run(self, *command: str, timeout: int = 900) -> subprocess.CompletedProcess[str]:
        """Runs a program of Airflow's environment to its end."""
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            cwd=self.home,
        )

    def pretend(self, folder: Path) -> Path:
        """Puts a spark-submit in front that leaves what jobs would leave, without Spark; `folder`, which is made."""
        folder.mkdir(parents=True)
        program = folder / "spark-submit"
        program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{PRETEND}" "{folder}" "$@"\n', encoding="utf-8"
        )
        program.chmod(0o755)
        self.environment["PATH"] = f"{folder}:{self.environment['PATH']}"
        return folder

    def probe(self, *arguments: str) -> Any:
        """What `probe.py` prints."""
        done = self.run("python", str(PROBE), *arguments)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])


class Receiver:
    """An HTTP server on this machine that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.got: list[str] = []
        posted, tokens, got = self.posted, self.tokens, self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.startswith("/moved"):
                    self.send_response(int(self.path.split("/")[2]))
                    self.send_header("Location", "/hook")
                    self.end_headers()
                    return
                posted.append(json.loads(content))
                tokens.append(self.headers["Authorization"])
                self.send_response(204)
                self.end_headers()

            def do_GET(self) -> None:
                got.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("localhost", 0), Handler)
        self.connection = self.at("/hook")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def at(self, path: str) -> str:
        """A connection to a path of this server; below /moved/302 it answers with that status."""
        host = f"http://localhost:{self.server.server_port}{path}"
        return json.dumps({"conn_type": "http", "host": host, "password": "t0"})


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Where alerts go."""
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="session")
def shared(repository: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Gives a module of `vizrec_dags` by name, of those that import nothing of Airflow or of this package."""
    folder = str(repository / "airflow_dags")
    sys.path.insert(0, folder)
    yield lambda name: importlib.import_module(f"vizrec_dags.{name}")
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def delta_log(shared: Callable[[str], ModuleType]) -> ModuleType:
    """The module that judges runs, as the DAGs have it."""
    return shared("delta_log")
