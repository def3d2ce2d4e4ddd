"""Each DAG really run: Airflow's scheduler, its executor, spark-submit, and the generated shop; and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import INTERPRETED
from tests.dags.conftest import Airflow
from tests.dags.scheduling import PATIENCE, Scheduled, prepare, running, unpause
from tests.jobs.conftest import SHORT_LIVED
from vizrec_spark.app.folder import folder_overrides
from vizrec_spark.config import load_config, save_config, setting
from vizrec_spark.demo import write_shop

pytestmark = [pytest.mark.scheduled, pytest.mark.timeout(7200)]

TRAINING = ["tune", "train", "train_current", "recommend", "recommend_current"]

# The real spark-submit, unless a file beside it says what is to go wrong with a job.
SUBMIT = """#!/usr/bin/env bash
here=$(dirname "$0")
job=$(grep -oE 'jobs/[a-z]+' <<< "$*" | head -n 1 | cut -d / -f 2)
echo "$job" >> "$here/started"
case "$(cat "$here/fault_$job" 2>/dev/null)" in
  lost) exit 0 ;;                # the driver is gone before it has done anything
  unseen) "{real}" "$@"; exit 137 ;;  # it has done everything, and nobody saw it end
esac
exec "{real}" "$@"
"""


def _shop(folder: Path) -> Path:
    """A small generated shop, and the configuration for it.

    With one trial the candidate has the settings in service, and its lists are theirs: not worse, whatever the draw.
    """
    write_shop(folder / "landing", n_items=120, n_users=90, n_events=3600)
    pairs = [
        *folder_overrides(folder / "landing"),
        setting("embed.cache", str(folder / "encoders")),
        *("als.rank=8", "als.iterations=4", setting("als.checkpoint_dir", str(folder / "checkpoints"))),
        *("tune.trials=1", setting("tune.output", str(folder / "tuned.yml"))),
        *("evaluate.replicates=200", setting("evaluate.gate.output", str(folder / "gate.json"))),
        setting("report.path", str(folder / "report.html")),
    ]
    return save_config(load_config(None, pairs), folder / "shop.yml")


@pytest.fixture(scope="module")
def scheduled(repository: Path, delta_log: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Scheduled:
    folder = tmp_path_factory.mktemp("scheduled")
    airflow = Airflow(repository, folder / "home", _shop(folder), folder / "tables")
    submit = folder / "submit"
    submit.mkdir()
    (submit / "spark-submit").write_text(
        SUBMIT.format(real=repository / ".venv" / "bin" / "spark-submit"), encoding="utf-8"
    )
    (submit / "spark-submit").chmod(0o755)
    (submit / "fault_similar").write_text("unseen", encoding="utf-8")
    airflow.environment |= {
        # Not the configuration's: it gets to where pictures are embedded only if the DAGs hand it on.
        "AIRFLOW_VAR_VIZREC_ENCODER": "efficientnet_lite0",
        "PATH": f"{submit}:{airflow.environment['PATH']}",
        "SPARK_SUBMIT_OPTS": " ".join(
            [
                SHORT_LIVED["SPARK_SUBMIT_OPTS"],
                *(f"-D{key}={value}" for key, value in INTERPRETED.items()),
                # Spark's executors may be slow to answer too.
                "-Dspark.network.timeout=7200s",
            ]
        ),
    }
    prepare(airflow)
    found = Scheduled(airflow, delta_log, submit)
    with running(airflow):
        unpause(found, "daily_batch", "incremental_embed")
        found.wait_for("daily_batch")
        found.wait_for("incremental_embed")
        unpause(found, "weekly_retrain")
        found.wait_for("weekly_retrain")
        # Last, when nothing else writes to the tables.
        unpause(found, "weekly_maintain")
        found.wait_for("weekly_maintain")
    return found


def test_the_day_goes_through_and_its_pictures_start_the_embedding(scheduled: Scheduled) -> None:
    run_id, kind, _ = scheduled.runs("daily_batch")[0]
    assert kind == "scheduled"
    states = scheduled.tasks("daily_batch", run_id)
    assert {state for state, _ in states.values()} == {"success"} and len(states) == 8
    [images] = scheduled.events("vizrec_images")
    run = scheduled.named("daily_batch", run_id)
    record = scheduled.record("ingest", run)
    assert (images["version"], images["rows"]) == (
        record.tables["images"]["version"],
        record.tables["images"]["rows"],
    )
    assert images["settings"] == ["embed.encoder=efficientnet_lite0"] and images["days"] == [
        run.split(".")[1]
    ]
    # Nobody started the second but the event, and it took the event's day.
    [(embed_run, embed_kind, state)] = scheduled.runs("incremental_embed")
    assert (embed_kind, state) == ("asset_triggered", "success")
    embed_run = f"{scheduled.named('incremental_embed', embed_run)}.0"
    embedded = scheduled.record("embed", embed_run)
    assert (
        embedded.encoder == record.encoder and json.loads(record.encoder)["encoder"] == "efficientnet_lite0"
    )
    assert embedded.tables["embeddings"]["rows"] > 100
    assert embedded.metrics["images_version"] == images["version"]
    [embeddings] = scheduled.events("vizrec_embeddings")
    assert embeddings["days"] == images["days"] and embeddings["run_id"] == embed_run
    # The look-alikes are those of the new pictures.
    similar = scheduled.record("similar", run)
    assert similar.tables["compared_items"]["rows"] > 100
    [lists] = scheduled.events("vizrec_recommendations")
    assert lists["rows"] == 90 * 20
    assert (scheduled.airflow.home.parent / "report.html").is_file()


def test_a_driver_whose_end_nobody_saw_is_not_taken_for_a_failure(scheduled: Scheduled) -> None:
    run_id, *_ = scheduled.runs("daily_batch")[0]
    assert scheduled.tasks("daily_batch", run_id)["similar"] == ("success", 1)
    assert scheduled.started().count("similar") == 1


def test_a_driver_that_was_lost_is_seen_though_its_exit_code_is_good(scheduled: Scheduled) -> None:
    (scheduled.submit / "fault_report").write_text("lost", encoding="utf-8")
    done = scheduled.airflow.run("airflow", "tasks", "test", "daily_batch", "report", "2026-01-31")
    # `tasks test` ends with 0 whatever the task does.
    assert "the driver was lost" in done.stdout + done.stderr


def test_a_task_that_is_repeated_starts_and_changes_nothing(
    scheduled: Scheduled, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, *_ = scheduled.runs("daily_batch")[0]
    versions, started = scheduled.versions(), scheduled.started()
    monkeypatch.setitem(scheduled.airflow.environment, "AIRFLOW__LOGGING__LOGGING_LEVEL", "INFO")
    done = scheduled.airflow.run("airflow", "tasks", "test", "daily_batch", "recommend", run_id)
    assert "is committed: nothing is started" in done.stdout + done.stderr
    assert (scheduled.versions(), scheduled.started()) == (versions, started)


def test_an_older_day_does_not_take_the_place_of_a_newer_one(scheduled: Scheduled) -> None:
    versions, started = scheduled.versions(), scheduled.started()
    done = scheduled.airflow.run(
        "airflow", "dags", "test", "daily_batch", "--conf", json.dumps({"day": "2020-01-01"})
    )
    assert done.returncode != 0
    assert "and this run is about 2020-01-01" in done.stdout + done.stderr
    run_id, _, state = scheduled.runs("daily_batch")[-1]
    states = scheduled.tasks("daily_batch", run_id)
    assert state == "failed" and states.pop("ingest")[0] == "failed"
    assert {state for state, _ in states.values()} == {"upstream_failed"}
    assert (scheduled.versions(), scheduled.started()) == (versions, started)


def test_the_week_tunes_measures_and_promotes(scheduled: Scheduled) -> None:
    run_id, kind, _ = scheduled.runs("weekly_retrain")[0]
    assert kind == "scheduled"
    states = scheduled.tasks("weekly_retrain", run_id)
    assert {state for state, _ in states.values()} == {"success"} and len(states) == 10
    run = scheduled.named("weekly_retrain", run_id)
    assert scheduled.record("holdout", run).metrics["interactions_version"] >= 0
    assert scheduled.record("tune", run, "_training").metrics["trials"] == 1
    assert scheduled.record("evaluate", run).outcome == "done"
    promoted = scheduled.record("promote", run)
    assert promoted.tables["promotions"]["rows"] == 1
    [model] = scheduled.events("vizrec_model")
    assert (model["run_id"], model["version"]) == (run, promoted.tables["promotions"]["version"])
    # Each split, training and measurement once.
    started = scheduled.started()
    times = {job: started.count(job) for job in ("holdout", "tune", "als", "evaluate", "promote")}
    assert times == {"holdout": 1, "tune": 1, "als": 2, "evaluate": 1, "promote": 1}


def test_upkeep_goes_through_every_folder_and_is_recorded(scheduled: Scheduled) -> None:
    run_id, kind, _ = scheduled.runs("weekly_maintain")[0]
    assert kind == "scheduled"
    tasks = {"maintain": "", "maintain_training": "_training", "maintain_current": "_current"}
    assert scheduled.tasks("weekly_maintain", run_id) == dict.fromkeys(tasks, ("success", 1))
    assert scheduled.started().count("maintain") == 3
    for beside in tasks.values():
        record = scheduled.record("maintain", scheduled.named("weekly_maintain", run_id), beside)
        assert record.outcome == "done" and "tables_left_out" not in record.metrics
        assert {"interactions", "item_factors", "recommendations"} <= set(record.tables)


def test_a_rejected_candidate_publishes_nothing_and_the_old_model_stays(scheduled: Scheduled) -> None:
    before, events = scheduled.versions(), scheduled.events("vizrec_model")
    done = scheduled.airflow.run(
        *("airflow", "dags", "test", "weekly_retrain", "--conf", json.dumps({"minimum": 0.99})),
        # What was trained and listed above is what it would be again.
        *("--mark-success-pattern", f"^({'|'.join(TRAINING)})$"),
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    run_id, kind, state = scheduled.runs("weekly_retrain")[-1]
    assert (kind, state) == ("manual", "success")
    states = {task: state for task, (state, _) in scheduled.tasks("weekly_retrain", run_id).items()}
    assert (states["evaluate"], states["gate"]) == ("success", "success")
    assert (states["promote"], states["publish_model"]) == ("skipped", "skipped")
    run = scheduled.named("weekly_retrain", run_id)
    window = scheduled.record("holdout", run).metrics["interactions_version"]
    assert window == scheduled.versions()["interactions"]
    record = scheduled.record("evaluate", run)
    assert record.outcome == "held" and "the limit is 0.9900" in record.notes[-1]
    after = scheduled.versions()
    assert {name for name, version in after.items() if version != before.get(name)} == {
        "metrics",
        "worst_lists",
        "runs",
    }
    assert scheduled.events("vizrec_model") == events
