"""Tables as Spark writes them, read by the service: deletion vectors, partitions, merged files."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import TablesConfig
from vizrec_spark.serve import columns as c
from vizrec_spark.serve.delta import TableFolder
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import EMBEDDINGS


def test_a_table_that_was_tidied_up_is_no_younger_for_it(spark: SparkSession, tmp_path: Path) -> None:
    config = TablesConfig(root=str(tmp_path))
    store = TableStore(spark, config, Stamp("r", "embed", "c"))
    row = ("0" * 64, "one", [1.0])
    for n in range(3):
        store.insert_missing(EMBEDDINGS, spark.createDataFrame([(f"{n:064x}", *row[1:])], EMBEDDINGS.schema))
    before = TableFolder(config).open(c.EMBEDDINGS)
    store.compact(EMBEDDINGS)
    after = TableFolder(config).open(c.EMBEDDINGS)
    assert before is not None and after is not None and len(after.files) < len(before.files)
    assert after.written_at == before.written_at > 1.7e9


def test_deleted_rows_are_not_read_and_partitions_are_kept_apart(spark: SparkSession, tmp_path: Path) -> None:
    config = TablesConfig(root=f"file://{tmp_path}/a b")
    store = TableStore(spark, config, Stamp("r", "embed", "c"))
    rows = spark.range(40).select(
        F.sha2(F.col("id").cast("string"), 256).alias("sha256"),
        F.when(F.col("id") < 30, "one").otherwise("two").alias("encoder_id"),
        F.array(F.col("id").cast("float"), F.lit(1).cast("float")).alias("vector"),
    )
    store.overwrite(EMBEDDINGS, rows.coalesce(1))
    gone = F.col("vector")[0].isin(3.0, 4.0, 29.0, 35.0)
    store.delete(EMBEDDINGS, gone)
    opened = TableFolder(config).open(c.EMBEDDINGS)
    assert opened is not None and opened.version == store.version(EMBEDDINGS)
    assert opened._living, "this test wants a table with deletion vectors"
    for encoder, wanted in (("one", set(range(30)) - {3, 4, 29}), ("two", set(range(30, 40)) - {35})):
        pieces = list(opened.pieces(("sha256", "vector"), where={"encoder_id": encoder}))
        found = [int(v[0]) for piece in pieces for v in piece.data["vector"].to_pylist()]
        assert sorted(found) == sorted(wanted)
        # The numbers of rows are those within the file, which pictures are read by.
        assert [row for piece in pieces for row in piece.rows] == [
            n - min(30 * (encoder == "two"), n) for n in found
        ]
    hashes = {r.sha256 for r in store.read(EMBEDDINGS).collect()}
    assert set(opened.table(("sha256",))["sha256"].to_pylist()) == hashes
