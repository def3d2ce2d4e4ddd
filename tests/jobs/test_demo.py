"""The demo's other doors: a folder of one's own, and a shop whose vectors are drawn; in this process's session."""

from __future__ import annotations

import csv
import re
from io import StringIO
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import ENCODER
from tests.landing import picture, put
from vizrec_spark.app.cli import main
from vizrec_spark.app.stages import PIPELINE


def test_a_folder_of_ones_own(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """Twenty films with their posters and ratings; where they are not at hand, six drawn ones."""
    shop, folder = tmp_path / "shop", tmp_path / "out"
    try:
        real_shop(shop, request.getfixturevalue("shared_dir") / "data" / "movielens_posters")
    except pytest.skip.Exception:
        drawn_shop(shop)
    films, ratings = table(shop / "items.csv"), table(shop / "ratings.csv")
    assert main(["demo", "--data", str(shop), "--folder", str(folder), "--set", ENCODER]) == 0
    told = capsys.readouterr()
    assert (
        "6 stages in" in told.out and (folder / "report.html").is_file() and (folder / "demo.yml").is_file()
    )
    titles = {film["movieId"]: film["title"] for film in films}
    kept = {name: spark.read.format("delta").load(str(folder / "tables" / name)) for name in KEPT}
    assert {row.item_id: row.title for row in kept["items"].collect()} == titles
    assert {row.item_id for row in kept["images"].select("item_id").collect()} == titles.keys()
    offers = kept["recommendations"].collect()
    rated = {(rating["userId"], rating["movieId"]) for rating in ratings}
    assert {row.user_id for row in offers} == {user for user, _ in rated}
    assert not rated & {(row.user_id, row.item_id) for row in offers}
    caused = [row for row in offers if row.because_item_id is not None]
    assert caused and all(titles[row.because_item_id] in row.reason for row in caused)


KEPT = ("items", "images", "recommendations")


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def real_shop(shop: Path, source: Path) -> None:
    """The first twenty films of `source`, as they are, with what was said of them and their posters."""
    films = table(source / "items.csv")[:20]
    chosen = {film["movieId"] for film in films}
    ratings = [rating for rating in table(source / "ratings.csv") if rating["movieId"] in chosen]
    for name, rows in (("items.csv", films), ("ratings.csv", ratings)):
        text = StringIO()
        out = csv.DictWriter(text, fieldnames=list(rows[0]))
        out.writeheader()
        out.writerows(rows)
        put(shop, name, text.getvalue())
    for film in films:
        put(shop, film["image"], (source / film["image"]).read_bytes())


def drawn_shop(shop: Path) -> None:
    films = "".join(f"{n},movie {n},Drama|War,{n}.jpg\n" for n in range(6))
    put(shop, "items.csv", "movieId,title,genres,picture\n" + films)
    ratings = "".join(f"u{n % 4},{n % 6},4.5,{1_700_000_000 + n}\n" for n in range(12))
    put(shop, "ratings.csv", "userId,movieId,rating,timestamp\n" + ratings)
    for n in range(6):
        put(shop, f"{n}.jpg", picture(n))


def test_a_shop_of_drawn_vectors_can_be_run_again(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = ["--items", "60", "--users", "20", "--events", "400"]
    # The other stages see no difference.
    monkeypatch.setattr("vizrec_spark.app.demo.PIPELINE", PIPELINE[:2])
    assert main(["demo", "--vectors", *size, "--folder", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    rows = dict(re.findall(r"│ (\w+) +│ +([\d,]+) │", told))
    assert "2 stages in" in told
    assert rows["images"] == rows["embeddings"] == "60"
    # There are no pictures in its landing folder, while table `images` holds those that were drawn.
    assert main(["ingest", "--config", str(tmp_path / "demo.yml")]) == 0
