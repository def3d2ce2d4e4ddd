"""Landing folders for tests of stage `ingest`: pictures as bytes, text files, and a run of the real stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from pyspark.sql import Row, SparkSession

from vizrec_spark.config import load_config
from vizrec_spark.ingest.stage import STAGE
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.schemas import IMAGES, QUARANTINE


def picture(seed: int = 0, side: int = 24, kind: str = "JPEG") -> bytes:
    """A compressed square of noise; another seed, other bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def put(folder: Path, name: str, content: bytes | str) -> Path:
    """Writes a file below `folder`, with the folders on its way; text as UTF-8, a lone surrogate as its byte."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
    return file


@dataclass(frozen=True)
class Ingested:
    """A finished run of the stage and its tables."""

    result: StageResult
    tables: TableStore
    decoded: int
    """Pictures that went through the decoder in Python, as Spark's own metrics count them."""

    @property
    def accounts(self) -> dict[str, str]:
        """What the stage told about each source."""
        return dict(note.split(": ", 1) for note in self.result.notes)

    @cached_property
    def refused(self) -> list[Row]:
        """All rows of the quarantine after this run."""
        return self.tables.read(QUARANTINE).collect()

    @cached_property
    def images(self) -> list[Row]:
        """All rows of table `images` after this run, by item and path."""
        return self.tables.read(IMAGES).orderBy("item_id", "path").collect()


def ingest(
    spark: SparkSession, folder: Path, overrides: Sequence[str] = (), tables: str = "tables"
) -> Ingested:
    """Runs the stage on `folder`/landing (items.csv, events.csv, pictures) into `folder`/`tables`."""
    landing = folder / "landing"
    config = load_config(
        None,
        [
            f"tables.root={folder / tables}",
            f"ingest.catalogue.path={landing / 'items.csv'}",
            f"ingest.interactions.path={landing / 'events.csv'}",
            f"ingest.images.path={landing}",
            *overrides,
        ],
    )
    store = TableStore(spark, config.tables, Stamp("test-run", STAGE.name, config.fingerprint()))
    before = last_query(spark)
    result = STAGE.run(StageContext(spark, config, store, "test-run"))
    assert result.metrics, "the record of the run would have no figures"
    return Ingested(result, store, decoded_rows(spark, before))


def decoded_rows(spark: SparkSession, after: int) -> int:
    """Rows that Python functions have handed back to Spark in all queries with an id above `after`."""
    store = spark._jsparkSession.sharedState().statusStore()
    total = 0
    executions = store.executionsList()
    for i in range(executions.size()):
        number = executions.apply(i).executionId()
        if number <= after:
            continue
        values = store.executionMetrics(number)
        nodes = store.planGraph(number).allNodes()
        for j in range(nodes.size()):
            node = nodes.apply(j)
            if node.name() != "ArrowEvalPython":
                continue
            metrics = node.metrics()
            for k in range(metrics.size()):
                metric = metrics.apply(k)
                value = values.get(metric.accumulatorId())
                if metric.name() == "number of output rows" and value.isDefined():
                    total += int(value.get().replace(",", ""))
    return total


def last_query(spark: SparkSession) -> int:
    """Id of the latest query of the session, for `decoded_rows`."""
    executions = spark._jsparkSession.sharedState().statusStore().executionsList()
    return max((executions.apply(i).executionId() for i in range(executions.size())), default=-1)
