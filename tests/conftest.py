"""Fixtures that every test shares: one Spark session a process, and the optional real inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from pyspark.sql import SparkSession
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from vizrec_spark.session import UNSUMMED_FILES, build_session

if TYPE_CHECKING:
    from tests.serving import Service, Shop

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")

REPOSITORY = Path(__file__).resolve().parents[1]

# The data is small and the plans are many: to compile each, and to plan it anew after every shuffle, costs more than
# running it. Jobs in processes of their own plan anew, as by default; those that run a whole pipeline compile nothing.
UNCOMPILED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
# Delta's sum beside each commit, which spares a reader a look at the whole log, costs another such look at once.
INTERPRETED = {
    **UNCOMPILED,
    "spark.sql.adaptive.enabled": "false",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
}


DEAD = pytest.StashKey[list[str]]()


class ByFile(LoadFileScheduling):
    """With several processes (`make test`), a file stays in one, and so do files that share what is dear to set up."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith("tests/jobs/"):  # one run of the demo
            return "tests/jobs"
        return "serve" if "/test_serve_" in file else file  # one shop and the service on it

    def remove_node(self, node: WorkerController) -> str | None:
        """The test in which a process died, if it died; what it had not begun goes to another.

        The method that this replaces hands on what is done as well, for which the other then waits for ever, and begins
        the test again in which the process died.
        """
        left = {
            file: tests for file, tests in self.assigned_work.pop(node).items() if not all(tests.values())
        }
        died = next(((file, test) for file in left for test, done in left[file].items() if not done), None)
        if died is None:
            return None
        file, test = died
        left[file][test] = True
        if all(left[file].values()):
            del left[file]
        self.workqueue.update(left)
        for other in self.assigned_work:
            self._reschedule(other)
        return test


def pytest_testnodedown(node: WorkerController, error: object | None) -> None:
    """How a process ended that took a test with it: killed by which signal."""
    if error is not None:
        code = node.gateway._io.popen.wait(timeout=30)
        node.config.stash.setdefault(DEAD, []).append(f"{node.gateway.id} ended with code {code}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Below the failures."""
    for line in config.stash.get(DEAD, []):
        terminalreporter.line(f"{line} (-11: SIGSEGV, -15: SIGTERM, -9: SIGKILL, as when memory is short)")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """For `pytest -n`."""
    return ByFile(config, log)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A local session with two worker slots, Delta Lake, few shuffle partitions and scratch of its own."""
    scratch = tmp_path_factory.mktemp("spark")
    conf = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "3g",
        # Delta keeps the state of every table that it has seen, in tests thousands: they would fill the memory.
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC -Ddelta.log.cacheSize=50",
        # What a session remembers of thousands of queries would fill its memory.
        "spark.sql.ui.retainedExecutions": "100",
        "spark.ui.retainedJobs": "20",
        "spark.ui.retainedStages": "20",
        "spark.ui.retainedTasks": "200",
        **INTERPRETED,
        **UNSUMMED_FILES,
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.local.dir": str(scratch / "local"),
    }
    session = build_session("vizrec-tests", conf)
    session.sparkContext.setCheckpointDir(str(scratch / "checkpoints"))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real pictures, ratings and weights; the test is skipped where it is missing."""
    folder = Path(os.environ.get("VIZREC_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real inputs not found: put them at {folder} or set VIZREC_SHARED")
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A small shop in Delta tables, for the service; not to be written to."""
    from tests.serving import make_shop  # imports what only the tests of the service need

    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def service(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on it, in a process of its own."""
    from tests.serving import running

    with running(shop, tmp_path_factory.mktemp("service")) as started:
        yield started
