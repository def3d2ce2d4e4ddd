"""The DAGs as Airflow parses and renders them: no errors, no heavy imports, these graphs, commands that jobs take."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.dags.conftest import Airflow
from vizrec_spark.app.runner import INTERRUPTED
from vizrec_spark.config import load_config
from vizrec_spark.config.load import known_keys
from vizrec_spark.errors import CandidateHeld, VizrecError, WeightsNotInstalled, WeightsUnavailable

PARAMS = {
    "day": "2026-01-30",
    "encoder": "efficientnet_lite0",
    "settings": ["ingest.images.path=/landing/{day}/pictures", "recommend.model=latest"],
    "minimum": 0.25,
    "tolerance": 0,
    # What an event brought to incremental_embed.
    "mapped": ["embed.encoder=efficientnet_lite0", "ingest.images.path=/landing/2026-01-30/pictures"],
}
RUN = "2026-01-30.scheduled__2026-02-01T02:00:00+00:00"


@pytest.fixture(scope="module")
def airflow(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    folder = tmp_path_factory.mktemp("airflow")
    return Airflow(repository, folder / "home", repository / "conf" / "local.yml", folder / "tables")


@pytest.fixture(scope="module")
def found(repository: Path, airflow: Airflow) -> dict[str, Any]:
    return dict(airflow.probe(str(repository / "airflow_dags"), json.dumps(PARAMS)))


DAGS = ["daily_batch", "incremental_embed", "weekly_maintain", "weekly_retrain"]


def test_there_are_these_dags_and_no_errors(found: dict[str, Any]) -> None:
    assert found["errors"] == {}
    assert sorted(found["dags"]) == DAGS


@pytest.mark.parametrize("name", DAGS)
def test_each_file_parses_in_less_than_two_seconds_in_a_process_of_its_own(
    airflow: Airflow, repository: Path, name: str
) -> None:
    """Nothing of the project, and no provider, was imported for another file before."""
    file = repository / "airflow_dags" / f"{name}.py"
    seconds: list[float] = []
    # What else the machine does may slow down one of them.
    while len(seconds) < 3 and not any(took < 2.0 for took in seconds):
        done = airflow.run("python", str(Path(__file__).with_name("parse.py")), str(file))
        assert done.returncode == 0, done.stderr[-4000:]
        parsed = json.loads(done.stdout.splitlines()[-1])
        assert (parsed["dags"], parsed["errors"]) == ([name], {})
        seconds.append(parsed["seconds"])
    assert 0 < min(seconds) < 2.0, seconds


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
            "read_settings": ["embed"],
            "read_events": ["check_pictures", "embed", "publish_embeddings"],
            "embed": ["check_pictures", "publish_embeddings"],
            "check_pictures": ["publish_embeddings"],
            "publish_embeddings": [],
        },
        "weekly_retrain": {
            "split": ["train_current", "tune"],
            "tune": ["train"],
            "train": ["recommend"],
            "recommend": ["evaluate"],
            "train_current": ["recommend_current"],
            "recommend_current": ["evaluate"],
            "evaluate": ["gate"],
            "gate": ["promote"],
            "promote": ["publish_model"],
            "publish_model": [],
        },
        "weekly_maintain": {"maintain": [], "maintain_training": [], "maintain_current": []},
    }


def test_runs_do_not_overlap_and_tasks_are_retried_later_and_later(found: dict[str, Any]) -> None:
    for dag in found["dags"].values():
        assert (dag["max_active_runs"], dag["catchup"]) == (1, False)
        assert dag["told"] == ["tell_of_time_out"]
    assert "vizrec_images" in found["dags"]["incremental_embed"]["schedule"]
    jobs = {name: task for name, task in found["tasks"].items() if task["type"] == "VizrecJobOperator"}
    assert len(jobs) == 5 + 8 + 3
    assert {task["pool"] for task in jobs.values()} == {"vizrec_spark"}
    assert [name for name, task in jobs.items() if task["mapped"]] == ["incremental_embed.embed"]
    for name, task in found["tasks"].items():
        assert task["retries"] == (1 if name == "incremental_embed.embed" else 3)
        assert task["backoff"] and task["timeout"] > 0
        assert task["told"] == ["tell_of_task"]
    before = {name: task["before"] for name, task in jobs.items() if task["before"]}
    assert before == {"daily_batch.ingest": "may_load", "weekly_retrain.split": "skip_if_held"}
    outlets = {name: task["outlets"] for name, task in found["tasks"].items() if task["outlets"]}
    assert outlets == {
        "daily_batch.publish_images": ["vizrec_images"],
        "daily_batch.publish_recommendations": ["vizrec_recommendations"],
        "incremental_embed.publish_embeddings": ["vizrec_embeddings"],
        "weekly_retrain.publish_model": ["vizrec_model"],
    }


def test_the_time_limits_fit_into_each_other(found: dict[str, Any]) -> None:
    for name, dag in found["dags"].items():
        tasks = {task: found["tasks"][f"{name}.{task}"] for task in found["graphs"][name]}
        for told in tasks.values():
            tries = told["retries"] + 1
            assert tries * told["timeout"] + told["retries"] * told["longest_pause"] <= dag["timeout"]
        once = {task: told["waits"] or told["timeout"] for task, told in tasks.items()}
        assert max(_longest_way(found["graphs"][name], once, task) for task in tasks) <= dag["timeout"]
    waits = found["tasks"]["daily_batch.await_embeddings"]["waits"]
    # One may be on when the pictures are published, and theirs comes after it.
    assert waits >= 2 * found["dags"]["incremental_embed"]["timeout"]


def test_upkeep_and_the_retraining_do_not_meet(found: dict[str, Any]) -> None:
    hours = {name: _hours_of_the_week(found["dags"][name]) for name in ("weekly_retrain", "weekly_maintain")}
    assert hours["weekly_retrain"].isdisjoint(hours["weekly_maintain"])


def test_the_parameter_settings_takes_every_key(found: dict[str, Any]) -> None:
    pattern = re.compile(found["pattern"])
    sections = {key for key in known_keys() if "." not in key}
    assert "embed.sha256" in (keys := set(known_keys()) - sections)
    assert [key for key in sorted(keys) if not pattern.search(f"{key}=1")] == []
    assert [
        pair for pair in ("als", "als=1", "als.rank", ".rank=1", "als..rank=1") if pattern.search(pair)
    ] == []


def test_each_exit_code_is_explained_as_the_dags_take_it(found: dict[str, Any], repository: Path) -> None:
    rows = re.findall(
        r"^\| exit code (.+?) \|", (repository / "docs" / "operations.md").read_text("utf-8"), re.MULTILINE
    )
    final, retried = (
        {int(code) for row in rows if told in row for code in re.findall(r"\b\d+\b", row)}
        for told in ("no retry", "tried again")
    )
    assert final == set(found["final"])
    others = {kind.exit_code for kind in _kinds(VizrecError)} | {INTERRUPTED}
    # 10 of `evaluate` is no failure, and has a row of its own.
    assert retried == others - final - {CandidateHeld.exit_code}
    assert WeightsUnavailable.exit_code in retried and WeightsNotInstalled.exit_code in final


def test_the_commands_of_the_page_are_those_that_the_jobs_take(repository: Path) -> None:
    """With a master, properties that there are, and the tables where the DAGs have them."""
    page = (repository / "docs" / "operations.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = [shlex.split(line) for line in re.findall(r"^spark-submit .*$", page, re.MULTILINE)]
    assert [Path(script).stem for words in commands for script in words if "jobs/" in script] == [
        "restore",
        "maintain",
    ]
    for words in commands:
        [script] = [word for word in words if word.startswith("jobs/")]
        before, arguments = words[1 : words.index(script)], words[words.index(script) + 1 :]
        assert before[:3] == ["--master", "yarn", "--properties-file"] and (repository / before[3]).is_file()
        parsed = _job(repository / script).build_parser().parse_args(arguments)
        assert (
            load_config(repository / parsed.config, parsed.overrides).tables.root
            == "s3a://shop/vizrec/tables"
        )


def test_each_command_is_one_that_its_job_takes(found: dict[str, Any], repository: Path) -> None:
    assert len(found["commands"]) == 5 + 8 + 3
    for name, (program, *words) in found["commands"].items():
        [script] = [word for word in words if word.endswith(".py")]
        before, arguments = words[: words.index(script)], words[words.index(script) + 1 :]
        assert program == "spark-submit" and before[:2] == ["--master", "local[2]"], name
        job = _job(Path(script))
        parsed = job.build_parser().parse_args(arguments)
        dag = name.split(".")[0]
        assert parsed.run_id == f"{dag}.{RUN}" + (".1" if name == "incremental_embed.embed" else "")
        config = load_config(parsed.config, parsed.overrides)
        assert config.embed.encoder == "efficientnet_lite0"
        assert config.ingest.images.path == "/landing/2026-01-30/pictures"
        assert config.tables.catalog is None
    upkeep = _config(found["commands"]["weekly_maintain.maintain"])
    assert upkeep.tables.root == _config(found["commands"]["daily_batch.ingest"]).tables.root


def test_a_job_writes_where_its_task_looks(found: dict[str, Any]) -> None:
    configs = {name: _config(words) for name, words in found["commands"].items()}
    live = configs["daily_batch.ingest"].tables.root
    training, current = f"{live}_training", f"{live}_current"
    places = {name.split(".")[1]: config.tables.root for name, config in configs.items() if "weekly" in name}
    assert {task for task, place in places.items() if place == training} == {
        "tune",
        "train",
        "recommend",
        "maintain_training",
    }
    assert {task for task, place in places.items() if place == current} == {
        "train_current",
        "recommend_current",
        "maintain_current",
    }
    compacts = {name: config.maintain.compact for name, config in configs.items() if "maintain" in name}
    assert [name for name, whether in compacts.items() if whether] == ["weekly_maintain.maintain"]
    assert configs["weekly_retrain.split"].evaluate.training == training
    assert configs["weekly_retrain.split"].evaluate.training_copies == (current,)
    assert configs["weekly_retrain.split"].evaluate.log_version is None
    # What the DAG says wins over what a run asks for: only a promoted model is served.
    assert configs["daily_batch.recommend"].recommend.model == "promoted"
    evaluate, promote = (configs[f"weekly_retrain.{task}"].evaluate for task in ("evaluate", "promote"))
    assert evaluate == promote
    assert (evaluate.training, evaluate.log_version) == (training, 7)
    assert (evaluate.gate.candidate, evaluate.gate.current) == ("candidate", "current")
    assert (evaluate.gate.minimum, evaluate.gate.tolerance) == (0.25, 0.0)
    assert evaluate.models == {
        "candidate": f"{training}/recommendations",
        "current": f"{current}/recommendations",
    }


def test_a_run_is_named_after_its_day_and_no_two_share_a_name(shared: Callable[[str], ModuleType]) -> None:
    name_run = shared("run_ids").name_run
    assert name_run("daily_batch", "2026-01-31", "manual__1") == "daily_batch.2026-01-31.manual__1"
    long = [name_run("daily_batch", "2026-01-31", f"{'x' * 200}{end}") for end in "ab"]
    other = [name_run("daily_batch", "2026-01-31", run) for run in ("a b", "a~b", "a_b")]
    assert len({*long, *other}) == 5
    for name in (*long, *other):
        assert len(name) <= 112 and name.startswith("daily_batch.2026-01-31.")
        assert re.fullmatch(r"[A-Za-z0-9_.:+-]+", name)


def test_only_the_dags_own_runs_are_about_a_day(shared: Callable[[str], ModuleType]) -> None:
    run_ids = shared("run_ids")
    by_hand = ["20260301T020000Z-abc123", "weekly_retrain.2026-03-01.manual__1", "daily_batch2.2026-03-01.x"]
    assert {run_ids.day_in("daily_batch", run_id) for run_id in by_hand} == {None}
    long = run_ids.name_run("daily_batch", "2026-01-02", "y" * 200)
    assert run_ids.day_in("daily_batch", long) == "2026-01-02"


def test_an_event_that_tells_nothing_has_the_runs_own(shared: Callable[[str], ModuleType]) -> None:
    events, own = shared("events"), ["als.rank=8"]
    assert events.extras_of({}) == events.extras_of(None) == []
    for extras in ([], [{}], [{"days": None, "version": None, "settings": None}]):
        assert events.days_in(extras, "2026-01-31") == ["2026-01-31"]
        assert events.version_in(extras) == -1
        assert events.settings_in(extras, own) == [own]


def test_events_are_taken_together_and_each_list_of_settings_once(
    shared: Callable[[str], ModuleType],
) -> None:
    events = shared("events")
    told = [
        {"days": ["2026-02-01"], "version": 9, "settings": ["embed.encoder=b"]},
        {"days": ["2026-01-31"], "version": 12, "settings": []},
        {"days": ["2026-01-30"], "version": 10, "settings": ["embed.encoder=b"]},
    ]
    extras = events.extras_of({"images": [SimpleNamespace(extra=extra) for extra in [*told, None]]})
    assert events.days_in(extras, "2026-01-29") == ["2026-01-29", "2026-01-30", "2026-01-31", "2026-02-01"]
    assert events.version_in(extras) == 12
    lists = [["als.rank=8"], ["als.rank=8", "embed.encoder=b"]]
    assert events.settings_in(extras, ["als.rank=8"]) == lists
    assert events.settings_in(extras[::-1], ["als.rank=8"]) == lists


def test_the_log_is_read_no_further_back_than_asked(delta_log: ModuleType, tmp_path: Path) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    for hour in range(10):
        _record(tmp_path, hour, "ingest" if hour == 6 else "embed", noon + timedelta(hours=hour))

    def runs(found: Iterable[Any]) -> list[str]:
        return [one.run_id for one in found]

    assert runs(delta_log.records(tmp_path, noon + timedelta(hours=7))) == ["run-9", "run-8", "run-7"]
    assert len(runs(delta_log.records(tmp_path))) == 10
    assert delta_log.record_of(tmp_path, "run-6", "ingest", noon + timedelta(hours=6)).encoder == "lite"
    assert delta_log.record_of(tmp_path, "run-6", "ingest", noon + timedelta(hours=7)) is None
    assert delta_log.standing(tmp_path, "run-6", "embed") is None
    around = delta_log.records_around(tmp_path, "run-6", "ingest", 2)
    assert runs(around) == ["run-9", "run-8", "run-7", "run-6", "run-5", "run-4"]
    assert runs(delta_log.records_around(tmp_path, "run-6", "ingest", 0))[-1] == "run-6"
    assert len(runs(delta_log.records_around(tmp_path, "nobody", "ingest", 2))) == 10


def test_the_day_that_is_loaded_is_found_however_much_came_after_it_and_no_further_back_is_read(
    delta_log: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    for version in range(2_500):
        _record(tmp_path, version, "ingest" if version in (100, 200) else "stream", noon)
    days = {"run-100": "2026-02-28", "run-200": "2026-01-31"}
    read: list[int] = []
    info = delta_log.commit_info
    monkeypatch.setattr(delta_log, "commit_info", lambda table, at: read.append(at) or info(table, at))
    # The last that was loaded is what the tables hold, though a newer day was loaded before it.
    assert delta_log.day_loaded(tmp_path, days.get, noon) == "2026-01-31"
    assert min(read) == 200
    # Runs that are about no day do not count.
    assert delta_log.day_loaded(tmp_path, {"run-100": "2026-02-28"}.get, noon) == "2026-02-28"
    # Nor what is older than is asked for, and no more than the first of that is read.
    read.clear()
    assert delta_log.day_loaded(tmp_path, days.get, noon + timedelta(seconds=1)) is None
    assert read == [2_499]


def test_a_record_of_a_part_is_not_that_of_a_finished_run(delta_log: ModuleType, tmp_path: Path) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    _record(tmp_path, 0, "maintain", noon, run="weekly", partial=True)
    assert delta_log.record_of(tmp_path, "weekly", "maintain") is None
    assert delta_log.standing(tmp_path, "weekly", "maintain", noon) is None
    # The next try did the rest.
    _record(tmp_path, 1, "maintain", noon, run="weekly", partial=False)
    assert delta_log.standing(tmp_path, "weekly", "maintain", noon).run_id == "weekly"
    assert len(list(delta_log.records(tmp_path))) == 1


def test_what_others_wrote_into_the_log_is_passed_over(delta_log: ModuleType, tmp_path: Path) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    _record(tmp_path, 0, "embed", noon)
    for version, said in enumerate(("compacted by hand", "[1]", "7", None), start=1):
        info = {"commitInfo": {"timestamp": int(noon.timestamp() * 1000), "userMetadata": said}}
        file = tmp_path / "runs" / "_delta_log" / f"{version:020d}.json"
        file.write_text(json.dumps(info), encoding="utf-8")
    assert [one.run_id for one in delta_log.records(tmp_path)] == ["run-0"]


def test_a_commit_is_seen_though_the_store_keeps_listings(airflow: Airflow) -> None:
    done = airflow.run("python", str(Path(__file__).with_name("listing.py")))
    assert done.stdout.splitlines()[-1] == "[0] [1, 0]", done.stderr[-4000:]


@pytest.fixture(scope="module")
def places(airflow: Airflow) -> dict[str, Any]:
    done = airflow.run("python", str(Path(__file__).with_name("places.py")))
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("scheme", "path", "own"),
    [
        ("s3a", "/shop/vizrec/tables", {}),
        ("gs", "/shop/vizrec/tables", {}),
        ("abfss", "/shop/vizrec/tables", {"account_name": "account", "anon": False}),
        ("hdfs", "/vizrec/tables", {"host": "namenode", "port": 8020}),
    ],
)
def test_tables_are_found_in_each_kind_of_store(
    places: dict[str, Any], scheme: str, path: str, own: dict[str, Any]
) -> None:
    """With and without a connection; and a commit of a moment ago is seen, whichever file system lists."""
    plain, connected = places["plain"][scheme], places["connected"][scheme]
    assert plain == {"path": path, "options": own, "seen": [[0], [1, 0]]}
    by = own if scheme == "hdfs" else {"connection": "shop_store"}
    assert connected == {"path": path, "options": by, "seen": [[0], [1, 0]]}


@pytest.mark.parametrize(
    ("scheme", "needed"),
    [
        ("s3a", "apache-airflow-providers-amazon[s3fs]"),
        ("gs", "apache-airflow-providers-google"),
        ("abfss", "apache-airflow-providers-microsoft-azure"),
        ("hdfs", "a Hadoop client with libhdfs"),
        ("ftps", "known are s3a, abfss, gs, hdfs"),
    ],
)
def test_a_store_that_cannot_be_read_is_refused_with_what_to_install(
    places: dict[str, Any], scheme: str, needed: str
) -> None:
    told = places["refused"][scheme]
    assert told.startswith(f"Airflow cannot read {scheme}://") and needed in told
    assert len(told) < 400
    # A path whose connection has no provider is not read without it.
    if scheme not in ("hdfs", "ftps"):
        assert needed in places["no_provider"][scheme]


def test_an_azure_account_of_another_cloud_is_asked_for_there(places: dict[str, Any]) -> None:
    assert places["china"] == {
        "account_name": "account",
        "anon": False,
        "account_host": "account.blob.core.chinacloudapi.cn",
    }


@pytest.mark.parametrize("scheme", ["s3a", "gs", "abfss", "hdfs"])
@pytest.mark.parametrize("failure", ["OSError", "ValueError"])
def test_a_store_that_does_not_answer_is_tried_again_and_nothing_is_to_install(
    places: dict[str, Any], scheme: str, failure: str
) -> None:
    kind, told = places["away"][failure][scheme]
    assert kind == "AirflowException"
    assert told.endswith("the store could not be reached (no route to host). The task may be tried again.")


def test_a_connection_that_is_not_defined_is_named(places: dict[str, Any]) -> None:
    assert {
        scheme: told for scheme, told in places["undefined"].items() if scheme != "hdfs"
    } == dict.fromkeys(
        ("s3a", "gs", "abfss"),
        "Variable vizrec_storage_conn names connection shop_store, which is not defined: add it, or delete the "
        "Variable.",
    )
    assert places["undefined"]["hdfs"] == ""


def _record(
    root: Path, version: int, stage: str, at: datetime, run: str | None = None, **more: object
) -> None:
    names = ("run_id", "stage", "outcome", "seconds", "encoder", "tables", "metrics", "notes")
    values = (run or f"run-{version}", stage, "done", 1.0, "lite", {}, {}, [])
    told = {**dict(zip(names, values, strict=True)), **more}
    info = {"timestamp": int(at.timestamp() * 1000), "userMetadata": json.dumps(told)}
    file = root / "runs" / "_delta_log" / f"{version:020d}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"commitInfo": info}), encoding="utf-8")


def _kinds(kind: type[VizrecError]) -> set[type[VizrecError]]:
    return {kind}.union(*(_kinds(below) for below in kind.__subclasses__()))


def _hours_of_the_week(dag: dict[str, Any]) -> set[int]:
    """The hours in which a run may be on that starts when it should."""
    minute, hour, *_, weekday = dag["cron"].split()
    assert minute == "0" and dag["timeout"] % 3600 == 0
    start = int(weekday) * 24 + int(hour)
    return {at % (7 * 24) for at in range(start, start + int(dag["timeout"]) // 3600 + 1)}


def _longest_way(graph: dict[str, list[str]], seconds: dict[str, float], task: str) -> float:
    return seconds[task] + max((_longest_way(graph, seconds, after) for after in graph[task]), default=0.0)


def _job(script: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"job_{script.stem}", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _config(words: list[str]) -> Any:
    at = words.index("--config")
    return load_config(words[at + 1], [words[i + 1] for i in range(at, len(words)) if words[i] == "--set"])
