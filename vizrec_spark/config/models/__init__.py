"""What can be configured: a module a section, a frozen model with default, range and meaning.

conf/base.yml shows the same defaults with comments (a test keeps the two equal).
"""

from __future__ import annotations

from pydantic import model_validator

from vizrec_spark.config.models.adapt import (
    AdaptConfig,
    AdaptGateConfig,
    AdaptSearchConfig,
    AugmentConfig,
    ContrastConfig,
    FineTuneConfig,
    HeadConfig,
    LabelsConfig,
    ProjectionConfig,
    ShareSpanConfig,
    SplitConfig,
)
from vizrec_spark.config.models.als import AlsConfig
from vizrec_spark.config.models.embed import AffinePreprocessing, EmbedConfig
from vizrec_spark.config.models.evaluate import EvaluateConfig, GateConfig
from vizrec_spark.config.models.ingest import (
    RATING_EVENT,
    CatalogueColumns,
    CatalogueConfig,
    ImagesConfig,
    IngestConfig,
    InteractionColumns,
    InteractionsConfig,
    SourceConfig,
    UsersConfig,
)
from vizrec_spark.config.models.maintain import MaintainConfig
from vizrec_spark.config.models.places import SparkConfig, TablesConfig
from vizrec_spark.config.models.recommend import (
    BlendWeights,
    Boost,
    CandidatesConfig,
    LearnConfig,
    RecommendConfig,
    RerankConfig,
)
from vizrec_spark.config.models.report import ReportConfig
from vizrec_spark.config.models.section import Section
from vizrec_spark.config.models.serve import ServeConfig
from vizrec_spark.config.models.similar import SimilarConfig
from vizrec_spark.config.models.stream import LiveColumns, StreamConfig
from vizrec_spark.config.models.tune import SpanConfig, TuneConfig

__all__ = [
    "AdaptConfig",
    "AdaptGateConfig",
    "AdaptSearchConfig",
    "AffinePreprocessing",
    "AlsConfig",
    "AugmentConfig",
    "BlendWeights",
    "Boost",
    "CandidatesConfig",
    "CatalogueColumns",
    "CatalogueConfig",
    "Config",
    "ContrastConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "FineTuneConfig",
    "GateConfig",
    "HeadConfig",
    "ImagesConfig",
    "IngestConfig",
    "InteractionColumns",
    "InteractionsConfig",
    "LabelsConfig",
    "LearnConfig",
    "LiveColumns",
    "MaintainConfig",
    "ProjectionConfig",
    "RecommendConfig",
    "ReportConfig",
    "RerankConfig",
    "Section",
    "ServeConfig",
    "ShareSpanConfig",
    "SimilarConfig",
    "SourceConfig",
    "SpanConfig",
    "SparkConfig",
    "SplitConfig",
    "StreamConfig",
    "TablesConfig",
    "TuneConfig",
    "UsersConfig",
]


class Config(Section):
    """The whole configuration."""

    tables: TablesConfig = TablesConfig()
    spark: SparkConfig = SparkConfig()
    ingest: IngestConfig = IngestConfig()
    embed: EmbedConfig = EmbedConfig()
    adapt: AdaptConfig = AdaptConfig()
    similar: SimilarConfig = SimilarConfig()
    als: AlsConfig = AlsConfig()
    tune: TuneConfig = TuneConfig()
    recommend: RecommendConfig = RecommendConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    maintain: MaintainConfig = MaintainConfig()
    stream: StreamConfig = StreamConfig()
    serve: ServeConfig = ServeConfig()

    @model_validator(mode="after")
    def _live_ratings_have_a_weight(self) -> Config:
        if self.stream.columns.event is None and RATING_EVENT not in self.ingest.interactions.events:
            raise ValueError(
                f"with `stream.columns.event` null every live event is a `{RATING_EVENT}`: give "
                "`ingest.interactions.events` its weight"
            )
        return self
