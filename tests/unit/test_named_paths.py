"""Files of the checkout that a page names are there."""

from __future__ import annotations

import re
from pathlib import Path

_PATH = re.compile(
    r"(?<![\w./-])(?:airflow_dags|benchmarks|conf|docs|jobs|tests|vizrec_spark)/[\w./-]*\w\.\w+"
)
_ELSEWHERE = {"conf/my.yml", "conf/shop.yml", "conf/spark-defaults.conf"}  # the reader's own, and Spark's


def test_pages_name_no_file_that_is_not_there(repository: Path) -> None:
    pages = [repository / "CONTRIBUTING.md", *(repository / "docs").glob("**/*.md")]
    named = {(page.name, path) for page in pages for path in _PATH.findall(page.read_text("utf-8"))}
    assert len(named) > 20
    missing = {pair for pair in named if not (repository / pair[1]).is_file()}
    assert sorted(pair for pair in missing if pair[1] not in _ELSEWHERE) == []
