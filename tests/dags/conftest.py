"""Airflow lives in an environment of its own, beside the one that runs the tests: it is spoken to as a process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
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
def delta_log(repository: Path) -> ModuleType:
    """The module that judges runs, as the DAGs have it; it imports nothing of Airflow or of this package."""
    file = repository / "airflow_dags" / "vizrec_dags" / "delta_log.py"
    spec = importlib.util.spec_from_file_location("delta_log", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["delta_log"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
