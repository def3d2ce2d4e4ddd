"""The DAGs as Airflow parses and renders them: no errors, no heavy imports, these graphs, commands that jobs take."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import Airflow
from vizrec_spark.config import load_config

PARAMS = {
    "day": "2026-01-30",
    "encoder": "efficientnet_lite0",
    "settings": ["ingest.images.path=/landing/{day}/pictures", "recommend.model=latest"],
    "minimum": 0.25,
    "tolerance": 0,
}


@pytest.fixture(scope="module")
def found(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("airflow")
    airflow = Airflow(repository, folder / "home", repository / "conf" / "local.yml", folder / "tables")
    return dict(airflow.probe(str(repository / "airflow_dags"), json.dumps(PARAMS)))


def test_every_file_parses_in_less_than_two_seconds(found: dict[str, Any]) -> None:
    assert found["errors"] == {}
    assert sorted(found["seconds"]) == ["daily_batch.py", "incremental_embed.py", "weekly_retrain.py"]
    assert max(found["seconds"].values()) < 2.0


def test_neither_spark_nor_tensorflow_nor_this_package_is_imported(found: dict[str, Any]) -> None:
    assert found["heavy"] == []


def test_the_graphs(found: dict[str, Any]) -> None:
    assert found["graphs"] == {
        "daily_batch": {
            "ingest": ["check_quarantine", "publish_images"],
            "check_quarantine": ["publish_images"],
            "publish_images": ["await_embeddings"],
            "await_embeddings": ["similar"],
            "similar": ["recommend"],
            "recommend": ["publish_recommendations"],
            "publish_recommendations": ["report"],
            "report": [],
        },
        "incremental_embed": {
            "read_events": ["check_pictures", "embed", "publish_embeddings"],
            "embed": ["check_pictures", "publish_embeddings"],
            "check_pictures": ["publish_embeddings"],
            "publish_embeddings": [],
        },
        "weekly_retrain": {
            "split": ["tune"],
            "tune": ["train"],
            "train": ["recommend"],
            "recommend": ["evaluate"],
            "split_current": ["train_current"],
            "train_current": ["recommend_current"],
            "recommend_current": ["evaluate"],
            "evaluate": ["gate"],
            "gate": ["promote"],
            "promote": ["publish_model"],
            "publish_model": [],
        },
    }


def test_runs_do_not_overlap_and_tasks_are_retried_later_and_later(found: dict[str, Any]) -> None:
    for dag in found["dags"].values():
        assert (dag["max_active_runs"], dag["catchup"]) == (1, False)
    assert "vizrec_images" in found["dags"]["incremental_embed"]["schedule"]
    jobs = [task for task in found["tasks"].values() if task["type"] == "VizrecJobOperator"]
    assert len(jobs) == 5 + 9
    assert {task["pool"] for task in jobs} == {"vizrec_spark"}
    for task in found["tasks"].values():
        assert task["retries"] == 3 and task["backoff"] and task["timeout"] > 0
    outlets = {name: task["outlets"] for name, task in found["tasks"].items() if task["outlets"]}
    assert outlets == {
        "daily_batch.publish_images": ["vizrec_images"],
        "daily_batch.publish_recommendations": ["vizrec_recommendations"],
        "incremental_embed.publish_embeddings": ["vizrec_embeddings"],
        "weekly_retrain.publish_model": ["vizrec_model"],
    }


def test_each_command_is_one_that_its_job_takes(found: dict[str, Any], repository: Path) -> None:
    assert len(found["commands"]) == 5 + 9
    for name, (program, *words) in found["commands"].items():
        [script] = [word for word in words if word.endswith(".py")]
        before, arguments = words[: words.index(script)], words[words.index(script) + 1 :]
        assert program == "spark-submit" and before[:2] == ["--master", "local[2]"], name
        job = _job(Path(script))
        parsed = job.build_parser().parse_args(arguments)
        dag = name.split(".")[0]
        assert parsed.run_id.removesuffix(".current") == f"{dag}.scheduled__2026-02-01T02:00:00+00:00"
        config = load_config(parsed.config, parsed.overrides)
        assert config.embed.encoder == "efficientnet_lite0"
        assert config.ingest.images.path == "/landing/2026-01-30/pictures"
        assert config.tables.catalog is None


def test_a_job_writes_where_its_task_looks(found: dict[str, Any]) -> None:
    configs = {name: _config(words) for name, words in found["commands"].items()}
    live = configs["daily_batch.ingest"].tables.root
    training, current = f"{live}_training", f"{live}_current"
    places = {name.split(".")[1]: config.tables.root for name, config in configs.items() if "weekly" in name}
    assert {task for task, place in places.items() if place == training} == {"tune", "train", "recommend"}
    assert {task for task, place in places.items() if place == current} == {
        "train_current",
        "recommend_current",
    }
    assert configs["weekly_retrain.split"].evaluate.training == training
    assert configs["weekly_retrain.split_current"].evaluate.training == current
    # What the DAG says wins over what a run asks for: only a promoted model is served.
    assert configs["daily_batch.recommend"].recommend.model == "promoted"
    evaluate, promote = (configs[f"weekly_retrain.{task}"].evaluate for task in ("evaluate", "promote"))
    assert evaluate == promote
    assert (evaluate.gate.candidate, evaluate.gate.current) == ("candidate", "current")
    assert (evaluate.gate.minimum, evaluate.gate.tolerance) == (0.25, 0.0)
    assert evaluate.models == {
        "candidate": f"{training}/recommendations",
        "current": f"{current}/recommendations",
    }


def _job(script: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"job_{script.stem}", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _config(words: list[str]) -> Any:
    at = words.index("--config")
    return load_config(words[at + 1], [words[i + 1] for i in range(at, len(words)) if words[i] == "--set"])
