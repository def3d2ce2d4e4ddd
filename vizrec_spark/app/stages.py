"""The stages in the order in which the pipeline runs them."""

from __future__ import annotations

from vizrec_spark.als.stage import STAGE as ALS
from vizrec_spark.als.tuning.stage import STAGE as TUNE
from vizrec_spark.app.adapting import STAGE as ADAPT
from vizrec_spark.app.promotion import STAGE as PROMOTE
from vizrec_spark.embed.stage import STAGE as EMBED
from vizrec_spark.evaluate.holdout import STAGE as HOLDOUT
from vizrec_spark.evaluate.stage import STAGE as EVALUATE
from vizrec_spark.ingest.stage import STAGE as INGEST
from vizrec_spark.maintain.stage import STAGE as MAINTAIN
from vizrec_spark.recommend.stage import STAGE as RECOMMEND
from vizrec_spark.report.stage import STAGE as REPORT
from vizrec_spark.similar.stage import STAGE as SIMILAR
from vizrec_spark.stage import Stage
from vizrec_spark.stream.stage import STAGE as STREAM

PIPELINE: tuple[Stage, ...] = (INGEST, EMBED, SIMILAR, ALS, RECOMMEND, REPORT)
BY_NAME: dict[str, Stage] = {stage.name: stage for stage in PIPELINE}

BESIDE: tuple[Stage, ...] = (ADAPT, TUNE, HOLDOUT, EVALUATE, PROMOTE, MAINTAIN, STREAM)
"""Jobs that run like a stage but are no step of the pipeline."""
