"""Every key of conf/spark/*.conf is one that Spark, Delta Lake or Hadoop knows; Spark passes over all others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

# Objects in which Spark's modules declare their keys; one that nothing has used yet has declared none.
DECLARE = (
    *(f"internal.config.{name}" for name in ("package", "UI", "Python", "Status", "Worker", "Deploy")),
    "deploy.k8s.Config",
    "deploy.yarn.config.package",
    "sql.internal.SQLConf",
    "sql.internal.StaticSQLConf",
    "sql.delta.sources.DeltaSQLConf",
)
# Read by spark-submit itself, or a family of keys with names of the user's own.
OTHERS = re.compile(r"spark\.(master|app\.name|sql\.catalog\.\w+|(executorEnv|kubernetes\.driverEnv)\.\w+)")


@pytest.fixture(scope="module")
def unknown(spark: SparkSession):
    """Gives those of some keys that nobody knows."""
    jvm = spark._jvm
    loader = jvm.Thread.currentThread().getContextClassLoader()
    for name in DECLARE:
        jvm.java.lang.Class.forName(f"org.apache.spark.{name}$", True, loader)
    entries = jvm.org.apache.spark.internal.config.ConfigEntry
    hadoop = jvm.org.apache.hadoop.conf.Configuration()

    def known(key: str) -> bool:
        if key.startswith("spark.hadoop."):
            return hadoop.get(key.removeprefix("spark.hadoop.")) is not None
        return OTHERS.fullmatch(key) is not None or entries.findEntry(key) is not None

    return lambda keys: [key for key in keys if not known(key)]


def keys_of(file: Path) -> list[str]:
    """The keys of a properties file; a line that is neither one nor a comment is one that fails."""
    lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
    return [
        words[0] if len(words) > 1 else f"no value: {words[0]}"
        for words in lines
        if words and words[0][0] != "#"
    ]


def test_every_key_is_known(repository: Path, unknown) -> None:
    files = sorted((repository / "conf" / "spark").glob("*.conf"))
    assert [file.stem for file in files] == ["kubernetes", "local", "standalone", "yarn"]
    assert {file.name: unknown(keys_of(file)) for file in files} == {file.name: [] for file in files}


def test_a_slip_is_found(unknown) -> None:
    slips = ["spark.executor.memoryOverHead", "spark.sql.shuffle.partition", "spark.hadoop.fs.s3a.endpointt"]
    assert unknown(slips) == slips
    assert unknown(["spark.hadoop.fs.s3a.path.style.access"]) == []


def test_every_setting_in_the_operations_page_is_known(repository: Path, unknown) -> None:
    text = (repository / "docs" / "operations.md").read_text(encoding="utf-8")
    told = re.findall(r"`(spark\.(?!stop|read)[\w.]+)(?:=[^`]*)?`", text)
    assert len(told) > 5
    assert unknown([key for key in told if not key.startswith("spark.delta.logStore.")]) == []
