"""Airflow lives in an environment of its own, beside the one that runs the tests: it is spoken to as a process."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.jobs.conftest import SHORT_LIVED

PROBE = Path(__file__).with_name("probe.py")


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

    def probe(self, *arguments: str) -> Any:
        """What `probe.py` prints."""
        done = self.run("python", str(PROBE), *arguments)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])


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
