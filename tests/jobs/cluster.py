"""A standalone cluster of Spark on this machine: a master and two workers, each a process with a folder of its own.

Where the system lets it (`unshare`), the driver has a folder that the workers do not see, as if it
were on another machine.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyspark

from tests.jobs.conftest import SHORT_LIVED
from vizrec_spark.session import UNSUMMED_FILES

_SPARK = Path(pyspark.__path__[0])
_UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
_SMALL = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"


@dataclass(frozen=True)
class Cluster:
    """Its address and folder, the folders below which each worker starts executors, the properties for a job."""

    url: str
    folder: Path
    workers: tuple[Path, ...]
    properties: Path
    drivers: Path
    """The driver's own folder, its temporary one in it."""

    def command(self, repository: Path, job: str, *arguments: str) -> list[str]:
        """The command line that runs a job on it, with the driver in a process of its own."""
        submit = ("spark-submit", "--master", self.url, "--properties-file", str(self.properties))
        return [*submit, str(repository / "jobs" / f"{job}.py"), *arguments]

    def executors(self) -> list[int]:
        """The processes of its executors, those started first first."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it may end meanwhile
                place, words = (process / "cwd").readlink(), (process / "cmdline").read_bytes()
                ours = any(place.is_relative_to(worker) for worker in self.workers)
                if ours and b"CoarseGrainedExecutorBackend" in words:
                    found.append(int(process.name))
        return sorted(found)

    def environment(self) -> dict[str, str]:
        """The driver's, as after `source .venv/bin/activate`."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if name != "PYSPARK_PYTHON"}
        own = {"TMPDIR": str(self.drivers / "tmp"), "SPARK_LOCAL_DIRS": str(self.drivers / "tmp")}
        return {**kept, **SHORT_LIVED, **own, "PATH": path, "COLUMNS": "160", "SPARK_LOCAL_IP": "127.0.0.1"}


@contextmanager
def standalone(repository: Path, folder: Path, hidden: Sequence[Path] = ()) -> Iterator[Cluster]:
    """A cluster of one core a worker, while the body runs; for the workers there is nothing in folders `hidden`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"spark://127.0.0.1:{port}"
    drivers = folder / "driver"
    (drivers / "tmp").mkdir(parents=True)
    started = [_start(folder / "master", (), "master.Master", "--port", str(port))]
    try:
        for name in ("first", "second"):
            size = ("--cores", "1", "--memory", "1g", "--work-dir", str(folder / name / "work"))
            started.append(_start(folder / name, (drivers, *hidden), "worker.Worker", *size, url))
        workers = tuple(folder / name / "work" for name in ("first", "second"))
        yield Cluster(url, folder, workers, _properties(repository, folder), drivers)
    finally:
        for process in started:  # a worker's executors are of its group
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _start(folder: Path, hidden: Sequence[Path], main: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A daemon, for which there is nothing in folders `hidden`."""
    (folder / "tmp").mkdir(parents=True)
    environment = {
        **os.environ,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": _SMALL,
        "SPARK_LOCAL_DIRS": str(folder / "tmp"),
        "TMPDIR": str(folder / "tmp"),
    }
    command = [str(_SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{main}"]
    if hidden and can_hide():
        mounts = "".join(f"mount -t tmpfs none {shlex.quote(str(place))} && " for place in hidden)
        command = [*_UNSHARE, "sh", "-c", f'{mounts}exec "$@"', "sh", *command]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--webui-port", "0", *arguments],
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )


@cache
def can_hide() -> bool:
    """Whether a process can be given folders of its own in place of what others see."""
    try:
        return subprocess.run([*_UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"]).returncode == 0
    except FileNotFoundError:
        return False


def _properties(repository: Path, folder: Path) -> Path:
    """conf/spark/standalone.conf with sizes for this machine, and its Python in place of a packed one."""
    text = (repository / "conf" / "spark" / "standalone.conf").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(spark\.\S+)\s+(\S.*)$", text, re.MULTILINE))
    del found["spark.archives"]
    found |= {
        **UNSUMMED_FILES,
        "spark.pyspark.python": sys.executable,
        "spark.driver.memory": "1g",
        "spark.executor.memory": "800m",
        "spark.executor.cores": "1",
        "spark.executor.extraJavaOptions": _SMALL,
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "1",
    }
    file = folder / "standalone.conf"
    file.write_text("".join(f"{key} {value}\n" for key, value in found.items()), encoding="utf-8")
    return file
