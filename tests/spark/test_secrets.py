"""A secret that a user may configure, or that an error or a note repeats, is in no row and in no log of any table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from tests.jobs.conftest import settings_stay_in_their_test
from tests.landing import picture, put
from vizrec_spark.app.runner import run_with
from vizrec_spark.app.stages import INGEST
from vizrec_spark.config import load_config, setting
from vizrec_spark.embed.stage import _published
from vizrec_spark.errors import CandidateHeld, ConfigError
from vizrec_spark.kernels.adapted import Adapted, Dense, Head, Projection
from vizrec_spark.stage import Stage, StageContext, StageResult, ended
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.registry import Origin, register
from vizrec_spark.tables.schemas import RUNS, USERS

__all__ = ["settings_stay_in_their_test"]

SECRET = "hunter2"
NOTES = [
    f"read https://anna:{SECRET}@host/items.csv",
    f"fs.s3a.secret.key={SECRET}",
    f"jdbc:db2://host;user=anna;pwd={SECRET};ssl=true",
    f"passphrase: '{SECRET} {SECRET}', again",
    f"fs.s3a.encryption.key={SECRET}",
    f"Authorization: Bearer {SECRET}",
]


def telling(context: StageContext) -> StageResult:
    return StageResult([context.tables.unchanged(USERS)], NOTES, {"told": 1.0})


def holding(context: StageContext) -> StageResult:
    raise ended(CandidateHeld(f"held; see s3a://key:{SECRET}@shop/gate.json"), telling(context))


def named(context: StageContext) -> StageResult:
    """What `embed` keeps of its section."""
    ready = SimpleNamespace(encoder_id="base", dimension=4)
    return StageResult([_published(context, ready)], [], {"embedded": 0.0})  # type: ignore[arg-type]


def registered(context: StageContext) -> StageResult:
    """What `adapt` keeps of `embed` and of its own section."""
    config = context.config
    projection = Projection(np.zeros(4, np.float32), np.eye(4, 2, dtype=np.float32), 0.5)
    layer = Dense(np.ones((4, 2), np.float32), np.zeros(2, np.float32))
    adapted = Adapted("multi_class", ("a", "b"), (Head((layer,), "relu"),), 1.0, projection)
    origin = Origin("base", config.embed, config.adapt.model_dump_json(), {})
    done = register(context.tables, context.spark, "shop", 1, adapted, origin, {})
    return StageResult([done], [], {"version": 1.0})


@pytest.mark.parametrize(
    "pair",
    [
        setting("embed.options", {"token": SECRET}),
        setting("embed.options", {"of": f"https://{SECRET}@host/weights"}),
        setting("embed.weights", f"https://anna:{SECRET}@host/w.keras"),
        setting("adapt.labels.label", f"'https://{SECRET}@host'"),
    ],
)
def test_what_tables_would_keep_as_it_stands_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, [pair])
    assert SECRET not in str(refused.value) and "would" in str(refused.value)


def test_no_row_and_no_log_holds_a_secret(spark: SparkSession, tmp_path: Path) -> None:
    landing, root = tmp_path / "landing", tmp_path / "tables"
    put(landing, "items.csv", "item_id,title,image\ni1,Hat,1.jpg\n")
    put(landing, "events.csv", "user_id,item_id,event,timestamp\nu,i1,view,1700000000\nu,i1,view,soon\n")
    put(landing, "1.jpg", picture())
    config = load_config(
        None,
        [
            f"tables.root={root}",
            f"ingest.catalogue.path={landing}/items.csv",
            f"ingest.interactions.path={landing}/events.csv",
            f"ingest.images.path={landing}",
            setting("ingest.catalogue.options", {"fs.s3a.secret.key": SECRET, "encryption.key": SECRET}),
            setting("spark.conf", {"spark.hadoop.fs.s3a.secret.key": SECRET, "vizrec.password": SECRET}),
            setting("embed.options", {"alpha": 0.25}),
        ],
    )
    naming = [Stage("embed", "", named), Stage("adapt", "", registered)]
    stages = [INGEST, *naming, Stage("report", "", telling), Stage("evaluate", "", holding)]
    with pytest.raises(CandidateHeld):
        run_with(stages, config, "day-1", Console(quiet=True))
    logs = sorted(root.glob("*/_delta_log/*.json"))
    folders = {log.parents[1] for log in logs}
    names = {folder.name for folder in folders}
    assert {"items", "images", "interactions", "quarantine", "runs", "encoders", "adapted_encoders"} <= names
    rows = {
        folder.name: "\n".join(spark.read.format("delta").load(str(folder)).toJSON().collect())
        for folder in folders
    }
    assert [name for name, text in rows.items() if SECRET in text] == []
    assert [str(log) for log in logs if SECRET in log.read_text(encoding="utf-8")] == []
    # Asterisks stand in its place, in the rows and in the log alike.
    store = TableStore(spark, config.tables, Stamp("", "look", ""))
    records = {row.stage: row for row in store.read(RUNS).collect()}
    assert records["report"].notes[0] == "read https://*****@host/items.csv"
    assert all("*****" in note for note in records["report"].notes) and len(records["report"].notes) == 6
    assert records["evaluate"].notes[-1] == "held; see s3a://*****@shop/gate.json"
    assert "alpha" in rows["encoders"] and "alpha" in rows["adapted_encoders"]  # as it stands
    of_runs = "".join(log.read_text(encoding="utf-8") for log in logs if log.parents[1].name == "runs")
    assert "https://*****@host/items.csv" in of_runs
