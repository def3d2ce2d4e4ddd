"""Entry points: spark-submit scripts, the console command, look-ups, and errors before Spark starts."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import SHORT_LIVED, DemoRun, vizrec
from vizrec_spark.app.cli import build_parser, main
from vizrec_spark.app.stages import BESIDE, PIPELINE

JOBS = ["pipeline", *(stage.name for stage in (*PIPELINE, *BESIDE))]


def _job(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"job_{name}", repository / "jobs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", JOBS)
def test_each_job_parses_what_an_operator_gives_it(repository: Path, name: str) -> None:
    parser = _job(repository, name).build_parser()
    args = parser.parse_args(["--config", "conf/local.yml", "--set", "similar.k=5", "--run-id", "day-1"])
    assert (args.config, args.overrides, args.run_id) == ("conf/local.yml", ["similar.k=5"], "day-1")


def test_there_is_a_job_and_a_command_for_every_stage(repository: Path) -> None:
    assert sorted(p.stem for p in (repository / "jobs").glob("*.py")) == sorted(
        [*JOBS, "encoders", "restore"]
    )
    for stage in (*PIPELINE, *BESIDE):
        assert build_parser().parse_args([stage.name]).command == stage.name


@pytest.mark.parametrize("name", JOBS)
def test_a_bad_key_stops_a_job_before_spark_starts(
    repository: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_session(*_: object, **__: object) -> None:
        raise AssertionError("a session was asked for")

    monkeypatch.setattr("vizrec_spark.app.runner.build_session", no_session)
    assert _job(repository, name).main(["--set", "similar.kk=5"]) == 2
    assert "`similar.k`" in capsys.readouterr().err


def test_look_ups_print_the_tables(
    demo: DemoRun,
    spark: SparkSession,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    where = ["--config", str(demo.folder / "demo.yml")]
    assert f"--config {demo.folder / 'demo.yml'}" in demo.stdout
    best = demo.table(spark, "item_neighbors").where("rank = 1").orderBy("item_id").first()
    assert main(["neighbors", best.item_id, "--k", "3", *where]) == 0
    shown = capsys.readouterr().out
    assert best.neighbor_id in shown and f"{best.cosine:.3f}" in shown
    offer = demo.table(spark, "recommendations").where("rank = 1").orderBy("user_id").first()
    assert main(["recommendations", offer.user_id, *where]) == 0
    shown = capsys.readouterr().out
    assert offer.item_id in shown and offer.reason in shown
    assert main(["recommendations", "u0001x", *where]) == 3
    unknown = capsys.readouterr().err
    assert "Nearest: u00010, u00011, u00012." in unknown


def test_a_stage_without_its_input_says_which_stage_to_run(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["als", "--set", f"tables.root={tmp_path}"]) == 4
    assert "run stage `ingest` first" in capsys.readouterr().err.replace("\n", " ")


def test_the_command_ends_with_the_code_of_its_error() -> None:
    done = vizrec("als", "--set", "als.rankk=3")
    assert done.returncode == 2
    assert "`als.rank`" in done.stderr and "Traceback" not in done.stderr


def test_spark_submit_hands_the_code_on(repository: Path) -> None:
    """By which the DAGs tell what is to be tried again."""
    spark_submit = str(Path(sys.executable).with_name("spark-submit"))
    command = [
        spark_submit,
        "--master",
        "local[1]",
        str(repository / "jobs" / "als.py"),
        "--set",
        "als.rankk=3",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, **SHORT_LIVED}
    )
    assert (
        done.returncode == 2 and "`als.rank`" in done.stdout
    )  # where it hands on what the driver tells on stderr
