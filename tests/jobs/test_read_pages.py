"""What a reader of the pages in docs/ types, as it stands there: on the shared demo, and on the shop of a page."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.jobs.conftest import DemoRun
from tests.landing import picture, put
from vizrec_spark.app.cli import main
from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.schemas import (
    BLEND_WEIGHTS,
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    QUARANTINE,
    RECOMMENDATIONS,
)

DEMO = "work/demo"


def blocks(page: Path, kind: str) -> list[str]:
    """The texts of its blocks of one kind."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for of, block in found if of == kind]


def commands(page: Path) -> list[list[str]]:
    """The lines of its ``sh`` blocks."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture
def beside_the_demo(demo: DemoRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which the demo stands where the pages have it."""
    (tmp_path / "work").mkdir()
    (tmp_path / DEMO).symlink_to(demo.folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run_commands(page: Path, *settings: str) -> None:
    """Each must begin with ``vizrec`` and end with 0."""
    more = [part for pair in settings for part in ("--set", pair)]
    for program, *arguments in commands(page):
        assert (program, main([*arguments, *more, "--quiet"])) == ("vizrec", 0), arguments


def test_the_quick_start(
    demo: DemoRun,
    spark: SparkSession,
    repository: Path,
    beside_the_demo: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page, report = repository / "docs" / "quick-start.md", beside_the_demo / "report.html"
    # What runs is what `demo` has run: a plain `vizrec demo`.
    assert blocks(page, "") == ["make demo\nsource .venv/bin/activate\n"]
    rule = subprocess.run(
        ["make", "-n", "-C", repository, "demo"], capture_output=True, text=True, check=True
    )
    assert ".venv/bin/vizrec demo" in rule.stdout
    shutil.copytree(demo.folder / "tables", beside_the_demo / "tables")
    run_commands(page, f"tables.root={beside_the_demo / 'tables'}", f"report.path={report}")
    told = capsys.readouterr().out
    offer = demo.table(spark, "recommendations").where("user_id = 'u00001' AND rank = 1").collect()[0]
    near = demo.table(spark, "item_neighbors").where("item_id = 'p00001' AND rank <= 5").collect()
    assert offer.reason in told and len(near) == 5 and all(row.neighbor_id in told for row in near)
    assert report.read_text(encoding="utf-8").count('class="panel shopper') == 10
    (block,) = blocks(page, "python")
    exec(compile(block, str(page), "exec"), {})
    assert "bad_price" in capsys.readouterr().out


@pytest.mark.usefixtures("beside_the_demo")
def test_every_block_of_the_python_page(
    spark: SparkSession, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one namespace, one after the other."""
    before = spark.sparkContext.getCheckpointDir()
    names: dict[str, Any] = {}
    page = repository / "docs" / "api.md"
    found = blocks(page, "python")
    assert len(found) == 6
    try:
        for block in found:
            exec(compile(block, str(page), "exec"), names)
    finally:
        spark.sparkContext.setCheckpointDir(before or str(tmp_path / "checkpoints"))
    told = capsys.readouterr().out
    assert names["vectors"].where("vector IS NOT NULL").count() == 8
    for shown in ("near", "fans"):
        assert not names[shown].isEmpty(), shown
    lists = re.findall(r"\|\s*(cosine|popularity)\|", told.rpartition("p_value")[2])
    assert sorted(lists) == ["cosine", "popularity"]


def test_a_shop_of_ones_own(
    spark: SparkSession,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The files and the configuration of the page, with drawn pictures, through the whole pipeline."""
    page = repository / "docs" / "own-data.md"
    files = dict(
        re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    )
    assert sorted(files) == ["conf/shop.yml", "data/clicks.csv", "data/products.csv"]
    for name, text in files.items():
        # Spark's own process works in another folder.
        own = re.sub(r"\b(data|work)/", rf"{tmp_path}/\1/", text) if name.endswith(".yml") else text
        put(tmp_path, name, own)
    products = [line.split(";") for line in files["data/products.csv"].splitlines()[1:]]
    for seed, (*_, photo) in enumerate(products):
        put(tmp_path / "data" / "photos", photo, picture(seed))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    scratch = (f"embed.cache={tmp_path}/encoders", f"als.checkpoint_dir={tmp_path}/checkpoints")
    run_commands(page, *scratch)
    told = capsys.readouterr().out
    assert "6 stages in" in told and (tmp_path / "work" / "shop" / "report.html").is_file()

    def kept(table: Table) -> list[tuple[object, ...]]:
        frame = spark.read.format("delta").load(str(tmp_path / "work" / "shop" / "tables" / table.name))
        return [tuple(row) for row in frame.select(table.columns).collect()]

    assert {row[0] for row in kept(ITEMS)} == {sku for sku, *_ in products}
    assert len(kept(INTERACTIONS)) == len(files["data/clicks.csv"].splitlines()) - 1
    assert kept(QUARANTINE) == []
    assert len(kept(ITEM_NEIGHBORS)) == len(products) * (len(products) - 1)
    assert {row[BLEND_WEIGHTS.columns.index("method")] for row in kept(BLEND_WEIGHTS)} == {"configured"}
    did = {(user, sku) for user, sku, *_ in kept(INTERACTIONS)}
    user, item = (RECOMMENDATIONS.columns.index(name) for name in ("user_id", "item_id"))
    pairs = {(row[user], row[item]) for row in kept(RECOMMENDATIONS)}
    assert {user for user, _ in pairs} == {"c1", "c2", "c3", "c4"} and not pairs & did


def test_the_page_about_recall(
    demo: DemoRun,
    spark: SparkSession,
    repository: Path,
    beside_the_demo: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a copy of the tables: the method and the target that each command asks for are those of the run."""
    page = repository / "docs" / "tuning-recall.md"
    (copy, source, target), *runs = (arguments for _, *arguments in commands(page))
    assert (copy, source, target) == ("-r", f"{DEMO}/tables", "work/try")
    shutil.copytree(source, target)
    found, said = [], []
    for arguments in runs:
        assert main([part.replace(target, str(beside_the_demo / target)) for part in arguments]) == 0
        row = (
            spark.read.format("delta").load(str(beside_the_demo / target / "similarity_quality")).collect()[0]
        )
        assert row.k == 10
        found.append((row.method, row.target_recall))
        said.append(capsys.readouterr().err)
        assert f"recall@10 {row.recall:.3f}" in said[-1]
    # The page quotes these lines, with other numbers in them: its demo is larger.
    quoted = [line for block in blocks(page, "") for line in block.splitlines()]
    assert len(quoted) == len(said)
    for line, text in zip(quoted, said, strict=True):
        assert re.search(re.sub(r"\d+(\\\.\d+)?", r"[\\d,.]+", re.escape(line)), text), line
    assert found == [("cells", 0.95), ("lsh", 0.8)]
