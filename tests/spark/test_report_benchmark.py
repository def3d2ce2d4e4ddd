"""That what the report's benchmark writes still follows the tables' contracts, so that it can be run."""

from __future__ import annotations

from pyspark.sql import SparkSession

from benchmarks.report import frames
from vizrec_spark.config import Config
from vizrec_spark.tables.schemas import IMAGES


def test_the_benchmark_has_the_columns_of_the_tables(spark: SparkSession) -> None:
    found = {table.name: (table, frame) for table, frame in frames(spark, Config(), 60, 40)}
    assert {"recommendations", "images", "blend_weights", "metrics", "runs"} <= found.keys()
    assert "worst_lists" in found
    for table, frame in found.values():
        types = dict(frame.select(table.columns).dtypes)
        assert types == {field.name: field.dataType.simpleString() for field in table.schema}
        if table is not IMAGES:  # which starts Python workers
            broken = " OR ".join(f"NOT ({check})" for check in table.checks.values())
            assert frame.where(broken or "false").isEmpty(), table.name
