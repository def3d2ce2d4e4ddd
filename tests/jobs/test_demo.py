"""The demo's other doors: a folder of one's own, and a shop whose vectors are drawn; in this process's session."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import ENCODER
from tests.landing import picture, put
from vizrec_spark.app.cli import main


def test_a_folder_of_ones_own(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = tmp_path / "shop"
    names = [f"movie {n}" for n in range(6)]
    put(
        shop,
        "items.csv",
        "movieId,title,genres,picture\n" + "".join(f"{n},{names[n]},Drama|War,{n}.jpg\n" for n in range(6)),
    )
    put(
        shop,
        "ratings.csv",
        "userId,movieId,rating,timestamp\n"
        + "".join(f"u{n % 4},{n % 6},4.5,{1_700_000_000 + n}\n" for n in range(12)),
    )
    for n in range(6):
        put(shop, f"{n}.jpg", picture(n))
    folder = tmp_path / "out"
    assert main(["demo", "--data", str(shop), "--folder", str(folder), "--set", ENCODER]) == 0
    told = capsys.readouterr()
    assert (
        "6 stages in" in told.out and (folder / "report.html").is_file() and (folder / "demo.yml").is_file()
    )
    offers = spark.read.format("delta").load(str(folder / "tables" / "recommendations"))
    assert {row.user_id for row in offers.collect()} == {"u0", "u1", "u2", "u3"}


def test_a_shop_of_drawn_vectors_can_be_run_again(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--items", "60", "--users", "20", "--events", "400"]
    assert main(["demo", "--vectors", *size, "--folder", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    rows = dict(re.findall(r"│ (\w+) +│ +([\d,]+) │", told))
    assert "6 stages in" in told
    assert rows["images"] == rows["embeddings"] == "60" and rows["recommendations"] == "400"
    # There are no pictures in its landing folder, while table `images` holds those that were drawn.
    assert main(["ingest", "--config", str(tmp_path / "demo.yml")]) == 0
