"""What a user is told, and what becomes of the tables, where a command cannot do its work: at the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import settings_stay_in_their_test
from tests.landing import picture, put
from tests.streaming import LiveShop, event
from vizrec_spark.app.cli import main
from vizrec_spark.app.stages import BESIDE, PIPELINE
from vizrec_spark.config import load_config
from vizrec_spark.errors import ConfigError, InputError, TableError
from vizrec_spark.tables import Stamp, Table, TableStore
from vizrec_spark.tables.schemas import (
    BLEND_WEIGHTS,
    ENCODERS,
    IMAGES,
    INTERACTIONS,
    ITEMS,
    LIVE_EVENTS,
    LIVE_RECOMMENDATIONS,
    METRICS,
    RECOMMENDATIONS,
    RUNS,
    USERS,
)

__all__ = ["settings_stay_in_their_test"]

# By stage: the table that it reads first, and the stage that it tells to run where the table is missing.
FIRST: dict[str, tuple[Table, str | None]] = {
    "ingest": (IMAGES, None),  # a first run has no tables
    "embed": (IMAGES, "ingest"),
    "similar": (ENCODERS, "embed"),
    "als": (INTERACTIONS, "ingest"),
    "recommend": (USERS, "ingest"),
    "report": (USERS, "ingest"),
    "adapt": (ENCODERS, "embed"),
    "tune": (INTERACTIONS, "ingest"),
    "holdout": (INTERACTIONS, "ingest"),
    "evaluate": (INTERACTIONS, "recommend"),  # before it the lists, where they are missing
    "promote": (METRICS, "evaluate"),
    "maintain": (ITEMS, None),  # it looks after what there is
    "stream": (BLEND_WEIGHTS, "recommend"),
}


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    put(folder, "items.csv", "item_id,title,image\ni1,Hat,1.jpg\ni2,Bag,1.jpg\n")
    put(folder, "events.csv", "user_id,item_id,event,timestamp\nu,i1,view,1700000000\n")
    put(folder, "users.csv", "user_id\nu\nv\n")
    put(folder, "1.jpg", picture())
    put(folder, "live/1.json", "")
    return folder


def command(stage: str, landing: Path, folder: Path, *settings: str) -> int:
    """The exit code of `vizrec <stage>` on the tables below `folder`."""
    pairs = [
        f"tables.root={folder}/tables",
        f"ingest.catalogue.path={landing}/items.csv",
        f"ingest.interactions.path={landing}/events.csv",
        f"ingest.users.path={landing}/users.csv",
        f"ingest.images.path={landing}",
        *(f"als.checkpoint_dir={folder}/checkpoints", f"report.path={folder}/report.html"),
        *(f"tune.output={folder}/tuned.yml", f"evaluate.training={folder}/training"),
        *("evaluate.gate.candidate=recommendations", "evaluate.gate.minimum=0.1"),
        *(f"evaluate.gate.output={folder}/gate.json", f"stream.checkpoint={folder}/stream"),
        *(f"stream.path={landing}/live", "stream.available_now=true"),
        *settings,
    ]
    return main([stage, "--quiet", *(word for pair in pairs for word in ("--set", pair))])


def store(spark: SparkSession, folder: Path) -> TableStore:
    config = load_config(None, [f"tables.root={folder}/tables"])
    return TableStore(spark, config.tables, Stamp("test", "test", "0" * 16))


def commits(folder: Path) -> set[str]:
    """Every commit to every table below `folder`."""
    return {str(log.relative_to(folder)) for log in folder.glob("**/_delta_log/*.json")}


@pytest.fixture(scope="module")
def ingested(spark: SparkSession, landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ingested")
    assert command("ingest", landing, folder) == 0
    return folder


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "ingest.catalogue.columns.price=cost",
            "ingest.catalogue: {landing}/items.csv has no column 'cost'; it has 'item_id', 'title', 'image'. Set "
            "ingest.catalogue.columns to the names in the file (null for what it does not have).",
        ),
        (
            "ingest.interactions.columns={user_id: visitor, rating: stars}",
            "ingest.interactions: {landing}/events.csv has no column 'visitor', 'stars'; it has 'user_id', 'item_id', "
            "'event', 'timestamp'. Set ingest.interactions.columns to the names in the file",
        ),
        (
            "ingest.users.column=visitor",
            "ingest.users: {landing}/users.csv has no column 'visitor'; it has 'user_id'. Set ingest.users.column to",
        ),
        (
            "ingest.users.segment=country",
            "ingest.users: {landing}/users.csv has no column 'country'; it has 'user_id'. Set ingest.users.column and "
            "ingest.users.segment to what the file names them.",
        ),
    ],
)
def test_a_column_that_is_not_there_is_one_error_that_says_what_to_do_and_loses_nothing(
    landing: Path, ingested: Path, setting: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = commits(ingested)
    assert len(before) > 6
    assert command("ingest", landing, ingested, setting) == InputError.exit_code == 3
    said = capsys.readouterr().err
    assert f"Error: {told.replace('{landing}', str(landing))}" in said and said.count("Error") == 1
    assert "Traceback" not in said and commits(ingested) == before


@pytest.fixture(scope="module")
def live(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> LiveShop:
    """A shop with all tables that `similar`, `recommend` and `stream` read, and live events in Parquet."""
    shop = LiveShop(spark, tmp_path_factory.mktemp("live") / "shop")
    shop.make()
    for table in (LIVE_EVENTS, LIVE_RECOMMENDATIONS):
        shop.store().ensure(table)
    fields = {name: [value] for name, value in event(1, "u01", "i01").items()}
    pq.write_table(pa.table(fields), shop.events / "1.parquet")
    return shop


@pytest.mark.parametrize(
    ("stage", "setting", "code", "told"),
    [
        (
            "stream",
            "stream.columns={user_id: visitor, rating: stars}",
            InputError.exit_code,
            "stream: {events} has no column 'visitor', 'stars'; it has 'event_id', 'user_id', 'item_id', 'event', "
            "'timestamp'. Set stream.columns to its names (null for what it does not have).",
        ),
        (
            "similar",
            "similar.filters.where=colour = 'red'",
            ConfigError.exit_code,
            "similar.filters: expected SQL over the columns of table items (item_id, title, ",
        ),
        (
            "similar",
            "similar.filters.same=[colour]",
            ConfigError.exit_code,
            "similar.filters: expected SQL over the columns of table items (item_id, title, ",
        ),
        (
            "recommend",
            "recommend.rerank.rules=[colour IS NOT NULL]",
            ConfigError.exit_code,
            "recommend.rerank.rules: 'colour IS NOT NULL' is no condition over the columns item_id, ",
        ),
        (
            "recommend",
            "recommend.rerank.boosts=[{where: colour = 'red', add: 1.0}]",
            ConfigError.exit_code,
            "recommend.rerank.boosts: \"colour = 'red'\" is no condition over the columns item_id, ",
        ),
    ],
)
def test_a_column_that_events_or_the_catalogue_do_not_have_is_told_likewise(
    live: LiveShop, stage: str, setting: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = commits(live.folder)
    pairs = [*live.overrides(), "stream.format=parquet", setting]
    assert main([stage, "--quiet", *(word for pair in pairs for word in ("--set", pair))]) == code
    said = capsys.readouterr().err
    assert f"Error: {told.replace('{events}', str(live.events))}" in said and said.count("Error: ") == 1
    assert stage == "stream" or "colour" in said.partition(told)[2]
    assert "Traceback" not in said and "QueryContextLogger" not in said and commits(live.folder) == before


def test_every_stage_that_reads_tables_is_here() -> None:
    assert list(FIRST) == [stage.name for stage in (*PIPELINE, *BESIDE)]


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """To build one, which comes before the tables are read, would take longer than the rest."""
    choice = SimpleNamespace(runtime="none", precision="float32", why="")
    encoder = SimpleNamespace(encoder_id="e", dimension=3, choice=choice)
    monkeypatch.setattr("vizrec_spark.embed.stage.ready_encoder", lambda _: encoder)
    monkeypatch.setattr("vizrec_spark.embed.stage.check_encoder", lambda _: None)


@pytest.mark.usefixtures("no_encoder")
@pytest.mark.parametrize(("stage", "first"), [(s, f) for s, (_, f) in FIRST.items() if f is not None])
def test_a_table_that_is_missing_is_told_with_the_stage_that_writes_it(
    landing: Path,
    tmp_path: Path,
    spark: SparkSession,
    stage: str,
    first: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(stage, landing, tmp_path) == TableError.exit_code == 4
    said = capsys.readouterr().err
    assert f"`{first}`" in said and "Error: " in said and "Traceback" not in said
    assert not store(spark, tmp_path).exists(RUNS)


@pytest.mark.usefixtures("no_encoder")
@pytest.mark.parametrize(("stage", "table"), [(s, t) for s, (t, _) in FIRST.items()])
def test_a_table_of_a_newer_contract_is_left_alone_by_every_stage(
    landing: Path,
    tmp_path: Path,
    spark: SparkSession,
    stage: str,
    table: Table,
    capsys: pytest.CaptureFixture[str],
) -> None:
    newer, lists = replace(table, version=99), f"{tmp_path}/training/recommendations"
    store(spark, tmp_path).ensure(newer)
    spark.createDataFrame([], RECOMMENDATIONS.schema).write.format("delta").save(lists)
    assert command(stage, landing, tmp_path) == TableError.exit_code
    said = " ".join(capsys.readouterr().err.split())
    place = f"Table {table.name} at {tmp_path}/tables/{table.name} follows contract version 99"
    assert f"{place}, this program knows {table.version}: upgrade vizrec-spark" in said
    assert "Traceback" not in said
    assert store(spark, tmp_path).version(newer) == 0  # made, and not written to
