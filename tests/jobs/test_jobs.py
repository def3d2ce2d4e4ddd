"""Entry points: spark-submit scripts, the console command, look-ups, and errors before Spark starts."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from pyspark.sql import SparkSession

from tests.jobs.cluster import standalone
from tests.jobs.conftest import DemoRun, vizrec
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


def test_spark_submit_runs_a_part_of_the_pipeline_on_a_cluster(
    demo: DemoRun, repository: Path, spark: SparkSession, tmp_path: Path
) -> None:
    """Executors in processes and folders of their own, that share nothing with the driver but the tables."""
    tables = tmp_path / "tables"
    shutil.copytree(demo.folder / "tables", tables)
    override = tmp_path / "override.yml"
    override.write_text(
        f"tables: {{root: {tables}}}\nembed: {{encoder: efficientnet_lite0}}\nsimilar: {{k: 10}}\n"
        f"als: {{rank: 4, iterations: 2, loss_sample: 0, checkpoint_dir: {tmp_path}/checkpoints}}\n"
    )
    with standalone(repository, tmp_path / "cluster") as cluster:
        part = ("--from", "similar", "--to", "als", "--run-id", "by-spark-submit")
        command = cluster.command(repository, "pipeline", "--config", str(override), *part)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=1000, env=cluster.environment()
        )
    assert done.returncode == 0, done.stderr
    assert "2 stages in" in done.stdout and "recommendations" not in done.stdout
    last = spark.sql(f"DESCRIBE HISTORY delta.`{tables / 'item_factors'}`").first()
    assert last is not None and json.loads(last.userMetadata)["run_id"] == "by-spark-submit"
    found, wanted = (
        {(r.item_id, r.rank): r.neighbor_id for r in near.where("rank <= 10").collect()}
        for near in (
            spark.read.format("delta").load(str(tables / "item_neighbors")),
            demo.table(spark, "item_neighbors"),
        )
    )
    assert len(found) > 2000 and found == wanted
    used = [worker for worker in cluster.workers if list(worker.glob("app-*/*/stderr"))]
    assert used == list(cluster.workers)


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
