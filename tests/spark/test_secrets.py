"""A secret that a user may configure, or that an error or a note repeats, is in no row and in no log of any table."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from tests.jobs.conftest import settings_stay_in_their_test
from tests.landing import picture, put
from vizrec_spark.app.runner import run_with
from vizrec_spark.app.stages import INGEST
from vizrec_spark.config import load_config, setting
from vizrec_spark.errors import CandidateHeld
from vizrec_spark.stage import Stage, StageContext, StageResult, ended
from vizrec_spark.tables import Stamp, TableStore
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
            setting("embed.options", {"token": SECRET}),
        ],
    )
    stages = [INGEST, Stage("report", "", telling), Stage("evaluate", "", holding)]
    with pytest.raises(CandidateHeld):
        run_with(stages, config, "day-1", Console(quiet=True))
    logs = sorted(root.glob("*/_delta_log/*.json"))
    folders = {log.parents[1] for log in logs}
    assert {"items", "images", "interactions", "quarantine", "runs"} <= {folder.name for folder in folders}
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
    assert '"token":*****' in records["ingest"].encoder
    of_runs = "".join(log.read_text(encoding="utf-8") for log in logs if log.parents[1].name == "runs")
    assert "https://*****@host/items.csv" in of_runs and "token" in of_runs
