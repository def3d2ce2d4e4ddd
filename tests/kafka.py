"""A real Kafka broker in one process, from the JARs of Maven Central."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

VERSION = "4.1.0"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
# A broker that lives for seconds.
_JAVA = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def broker_jars(cache: Path) -> Path:
    """The folder of JARs, fetched by Maven into `cache` once; the test is skipped where that cannot be."""
    jars = cache / f"jars-{VERSION}"
    if jars.is_dir():
        return jars
    if shutil.which("mvn") is None:
        _missing("Maven (mvn), which fetches Kafka's JARs, is not installed")
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "pom.xml").write_text(_POM, encoding="utf-8")
    draft = cache / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    # A repository of its own: that of the user stays as it is.
    command = ["mvn", "-q", "-B", "-f", str(cache / "pom.xml"), f"-Dmaven.repo.local={cache / 'repository'}"]
    command += ["dependency:copy-dependencies", f"-DoutputDirectory={draft}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        _missing(f"Maven cannot fetch Kafka's JARs: {(done.stdout + done.stderr).strip()[-300:]}")
    draft.rename(jars)
    return jars


def _missing(why: str) -> None:
    """Where the tests are complete, this is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"no broker: {why}")
    pytest.skip(f"no broker: {why}")


@dataclass(frozen=True)
class Broker:
    """A running broker."""

    jars: Path
    servers: str

    def send(self, topic: str, lines: Sequence[str]) -> None:
        """Messages without keys; the topic is made with the first."""
        command = ["java", *_JAVA, "-cp", f"{self.jars}/*", "org.apache.kafka.tools.ConsoleProducer"]
        command += ["--bootstrap-server", self.servers, "--topic", topic]
        subprocess.run(
            command, input="\n".join(lines) + "\n", text=True, check=True, timeout=120, capture_output=True
        )


@contextmanager
def broker(cache: Path, folder: Path) -> Iterator[Broker]:
    """A broker (KRaft, one node) with its data in `folder`, while the body runs."""
    jars = broker_jars(cache)
    port, control = _free_port(), _free_port()
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{control}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": folder / "data",
        "offsets.topic.replication.factor": 1,
        "num.partitions": 2,
    }
    file = folder / "server.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
    cluster = base64.urlsafe_b64encode(b"a" + os.urandom(15)).decode().rstrip("=")
    java = ["java", *_JAVA, "-cp", f"{jars}/*"]
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    log = folder / "broker.log"
    with log.open("wb") as out:
        process = subprocess.Popen([*java, "kafka.Kafka", str(file)], stdout=out, stderr=out)
    try:
        until = time.monotonic() + 120
        while not _listens(port):
            told = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            assert process.poll() is None and time.monotonic() < until, told
            time.sleep(0.1)
        yield Broker(jars, f"127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
