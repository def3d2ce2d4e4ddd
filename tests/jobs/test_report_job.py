"""What a reader of docs/reading-the-report.md types, on the shared demo: every command and the example notebook."""

from __future__ import annotations

import json
import os
import re
import shutil
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from benchmarks import report
from tests.jobs.conftest import DemoRun
from tests.jobs.test_read_pages import DEMO, commands
from vizrec_spark.app.cli import main
from vizrec_spark.config import load_config
from vizrec_spark.errors import TableError
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import METRICS, RUNS


def test_every_command_of_the_page_works_as_it_stands(
    demo: DemoRun, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = commands(repository / "docs" / "reading-the-report.md")
    assert [command[:2] for command in found] == [["vizrec", "report"], *[["vizrec", "look"]] * 3]
    thumbnails = demo.folder / "tables" / "thumbnails" / "_delta_log"
    before = sorted(file.name for file in thumbnails.iterdir())
    for command in found:
        here = [part.replace(DEMO, str(demo.folder)) for part in command[1:]]
        assert main([*here, "--quiet"]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    for title in ("Offered to user u00001", "Looks like item p00001", "Looks like the picture p00001.jpg"):
        assert f"{title}: file://" in told
    page = (demo.folder / "look.html").read_text(encoding="utf-8")
    # The picture of an item looks most like that item itself.
    first = re.search(r'<ol class="near">\s*<li title="([^"]*)">.*?Cosine </span>([\d.]+)', page, re.DOTALL)
    assert first is not None
    assert first[1].endswith("· p00001") and float(first[2]) == pytest.approx(1, abs=2e-3)
    # Everything was shown before: no picture was made small again.
    assert sorted(file.name for file in thumbnails.iterdir()) == before
    written = (demo.folder / "report.html").read_text(encoding="utf-8")
    assert written.count("data:image/jpeg") > 100
    assert len(written.encode()) < 15e6


def test_an_unknown_name_is_told(demo: DemoRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["look", "nobody", "--config", str(demo.folder / "demo.yml"), "--no-open"]) == 3
    assert "'nobody' is no file, and tables items and users do not have it" in " ".join(
        capsys.readouterr().err.split()
    )


def test_what_is_no_picture_is_told_before_spark_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vizrec_spark.app.look.read_only_tables", lambda *_, **__: pytest.fail("Spark"))
    (tmp_path / "text.jpg").write_text("hello")
    assert main(["look", str(tmp_path / "text.jpg"), "--no-open"]) == 3
    told = " ".join(capsys.readouterr().err.split())
    assert "text.jpg is no picture that can be read: the first bytes" in told


def test_a_look_at_a_picture_opens_in_the_browser(
    demo: DemoRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The picture has a name that is no UTF-8; its look-alikes come in the order of `similar.metric`."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: opened.append(uri) or not opened[1:])
    picture, out = tmp_path / os.fsdecode(b"caf\xe9.jpg"), tmp_path / "look.html"
    shutil.copy(demo.folder / "landing" / "images" / "p00001.jpg", picture)
    command = ["look", str(picture), "--config", str(demo.folder / "demo.yml"), "--output", str(out)]
    assert main([*command, "--set", "similar.metric=euclidean"]) == 0
    page = out.read_text(encoding="utf-8")
    assert "Looks like the picture caf\ufffd.jpg" in page
    far = [float(text) for text in re.findall(r"distance </span>([\d.]+)", page)]
    assert len(far) == 10 and far == sorted(far)
    assert "No browser" not in capsys.readouterr().err
    assert main(command) == 0
    assert "No browser could be started: open the file yourself." in capsys.readouterr().err
    assert opened == [out.as_uri()] * 2
    assert main(["look", "caf\udce9", *command[2:]]) == 3
    assert "it can be no id: ids are UTF-8" in " ".join(capsys.readouterr().err.split())


def test_the_lines_for_a_notebook_work_as_they_stand(demo: DemoRun, repository: Path) -> None:
    page = (repository / "docs" / "reading-the-report.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    *before, last = block.replace("work/demo", str(demo.folder)).rstrip().splitlines()
    names: dict[str, Any] = {}
    exec("\n".join(before), names)
    assert eval(last, names)._repr_html_().startswith("<iframe")
    shown = names["show_recommendations"](names["tables"], names["config"], "u00001")
    assert "Offered to u00001" in shown.html
    with pytest.raises(TableError, match="vizrec evaluate"):
        names["plot_metrics"](names["tables"], names["config"])


def test_the_example_notebook_runs(
    demo: DemoRun, spark: SparkSession, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code in one namespace, cell by cell: what the last line of each gives is of the kind that stands below it.
    The demo was not evaluated, so the metrics are those of other tables."""
    book = json.loads((repository / "docs" / "notebooks" / "look-around.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 4 and all(cell["execution_count"] for cell in cells)
    (demo.folder.parent / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(demo.folder.parent / "here")
    if not Path(DEMO).exists():
        Path("work").mkdir()
        Path(DEMO).symlink_to(demo.folder)
    names: dict[str, Any] = {}
    drawn = 0
    elsewhere = load_config(None, [f"tables.root={demo.folder.parent / 'measured'}"]).tables
    measured = TableStore(spark, elsewhere, Stamp("week-7", "evaluate", "0"))
    measured.overwrite(METRICS, report.rows(spark, METRICS, list(report.metrics())))
    measured.overwrite(RUNS, report.rows(spark, RUNS, list(report.runs(10))))
    for cell in cells:
        if cell is cells[-1]:
            names["tables"] = measured
        *before, last = "".join(cell["source"]).rstrip().splitlines()
        kept = [output for output in cell["outputs"] if output["output_type"] == "execute_result"]
        exec(compile("\n".join([*before, "" if kept else last]), "cell", "exec"), names)
        if kept:
            given = eval(last, names)
            assert given._repr_html_().startswith("<iframe")
            assert "".join(kept[0]["data"]["text/html"]).startswith("<iframe")
            if cell is not cells[-1]:
                assert (
                    repr(given).partition(":")[0] == "".join(kept[0]["data"]["text/plain"]).partition(":")[0]
                )
            drawn += 1
    assert drawn == len(cells) - 1
