"""Which settings a session gets, and what it says when Java fails; starting one is left to the tests with Spark."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vizrec_spark.session import _QUICKLY, DELTA_PACKAGE, _remove_or_name, jvm_options, settings


def test_configuration_over_defaults() -> None:
    assert settings({}, {})["spark.sql.session.timeZone"] == "UTC"
    assert settings({"spark.sql.session.timeZone": "CET"}, {})["spark.sql.session.timeZone"] == "CET"
    assert settings({"spark.executor.cores": "4"}, {})["spark.executor.cores"] == "4"


def test_what_spark_submit_was_given_wins() -> None:
    given = {"spark.log.level": "INFO", "spark.executor.cores": "2"}
    chosen = settings({"spark.executor.cores": "4", "spark.master": "local[1]"}, given)
    assert "spark.log.level" not in chosen
    assert "spark.executor.cores" not in chosen
    assert chosen["spark.master"] == "local[1]"


@pytest.mark.parametrize("name", ["local.conf", "standalone.conf", "yarn.conf", "kubernetes.conf"])
def test_properties_files_bring_the_same_delta(repository: Path, name: str) -> None:
    text = (repository / "conf" / "spark" / name).read_text(encoding="utf-8")
    found = dict(re.findall(r"^(spark\.\S+)\s+(\S.*)$", text, re.MULTILINE))
    image = name == "kubernetes.conf"  # holds it already
    given = (repository / "Dockerfile").read_text(encoding="utf-8") if image else found["spark.jars.packages"]
    assert DELTA_PACKAGE in given if image else given == DELTA_PACKAGE
    assert not image or "spark.jars.packages" not in found
    for key in ("spark.sql.extensions", "spark.sql.catalog.spark_catalog", "spark.sql.session.timeZone"):
        assert found[key] == settings({}, {})[key]


def test_options_of_the_jvm_come_before_those_that_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, told in ((None, "-Xa"), ("-Xb", "-Xa -Xb")):
        monkeypatch.delenv("SPARK_SUBMIT_OPTS", raising=False)
        if given is not None:
            monkeypatch.setenv("SPARK_SUBMIT_OPTS", given)
        with jvm_options("-Xa"):
            assert os.environ["SPARK_SUBMIT_OPTS"] == told
        assert os.environ.get("SPARK_SUBMIT_OPTS") == given


START = """
import os, sys, tempfile
from pathlib import Path
from vizrec_spark.errors import SessionError
from vizrec_spark.session import build_session
(Path(tempfile.gettempdir()) / f"vizrec-spark-{os.getpid()}.log").symlink_to(sys.argv[1])
try:
    build_session("test")
except SessionError as error:
    print(error)
"""


def test_the_log_of_a_start_is_a_file_of_ones_own_and_the_error_names_it(tmp_path: Path) -> None:
    """With a Java that fails, and a link in the way where somebody might expect the log."""
    java, scratch, other = tmp_path / "jdk" / "bin" / "java", tmp_path / "tmp", tmp_path / "other.txt"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'this machine has no room' >&2\nexit 1\n")
    java.chmod(0o755)
    scratch.mkdir()
    other.write_text("somebody's\n")
    set_up = {**os.environ, "JAVA_HOME": str(tmp_path / "jdk"), "TMPDIR": str(scratch)}
    for name in ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"):
        set_up.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", START, str(other)], env=set_up, capture_output=True, text=True, check=True
    )
    assert "Spark did not start" in done.stdout and "this machine has no room" in done.stdout
    named = re.search(r"The end of its log, (\S+):", done.stdout)
    assert named is not None
    log = Path(named[1])
    assert log.parent == scratch and not log.is_symlink() and log.stat().st_mode & 0o777 == 0o600
    assert other.read_text() == "somebody's\n"


def test_what_the_jvm_printed_is_kept_where_it_died(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "vizrec-spark-1.log"
    log.write_text("java.lang.OutOfMemoryError")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as died:
        died.wait()
    _remove_or_name(log, died)
    assert log.exists() and f"code 3; what it printed: {log}" in capsys.readouterr().err
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        _remove_or_name(log, alive)
        alive.kill()
    assert not log.exists() and capsys.readouterr().err == ""


def test_a_brief_process_has_as_much_room_for_compiled_code_as_another() -> None:
    """Without it `vizrec report` now and then lost its JVM: what it runs compiles to more than 48 MB."""

    def room(*options: str) -> int:
        command = ["java", *options, "-XX:+PrintFlagsFinal", "-version"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"ReservedCodeCacheSize\s+=\s+(\d+)", told)
        assert found is not None
        return int(found[1])

    assert room(*_QUICKLY.split()) >= room() > room("-XX:TieredStopAtLevel=1")
