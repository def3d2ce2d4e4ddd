"""Section `adapt`: teach an encoder the labels of this catalogue."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vizrec_spark.config.models.section import Name, Section, Share
from vizrec_spark.config.models.tune import SpanConfig

Width = Annotated[int, Field(ge=1, le=8192)]
Open = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class LabelsConfig(Section):
    """Where labels come from: SQL over the columns of table `items`."""

    label: Name = "get(categories, 0)"
    part: Name | None = None
    kind: Literal["auto", "binary", "multi_class", "multi_label"] = "auto"
    min_examples: Annotated[int, Field(ge=2)] = 2
    accept_changes: bool = False


class SplitConfig(Section):
    """How labelled pictures are parted where the labels do not say so."""

    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    duplicate_cosine: Annotated[float, Field(gt=0, le=1)] = 0.95
    duplicate_bits: Annotated[int, Field(ge=0, le=6)] = 3

    @model_validator(mode="after")
    def _room(self) -> SplitConfig:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("`validation_share` and `test_share` must leave room for training")
        return self


class HeadConfig(Section):
    """The classifier on top of the features: dense layers, and how they are trained."""

    layers: Annotated[tuple[Width, ...], Field(max_length=8)] = (512,)
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    dropout: Open = 0.5
    input_dropout: Open = 0.2
    label_smoothing: Open = 0.1
    mixup: Annotated[float, Field(ge=0)] = 0.4
    learning_rate: Positive = 0.001
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 64
    epochs: Annotated[int, Field(ge=1)] = 40
    patience: Annotated[int, Field(ge=1)] = 8
    members: Annotated[int, Field(ge=1, le=32)] = 1
    discriminants: bool = True
    landmarks: Annotated[int, Field(ge=0, le=20_000)] = 2000
    ridge: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.1, 0.3, 1.0)
    class_weights: bool = False


class AugmentConfig(Section):
    """How pictures are changed at random each time that they are learned from; 0 or false: not at all."""

    flip: bool = True
    rotate: Open = 0.03
    shift: Open = 0.08
    zoom: Open = 0.1
    brightness: Open = 0.15
    contrast: Open = 0.15


class FineTuneConfig(Section):
    """Depth `fine_tune`: the last blocks of the encoder learn too, on pictures."""

    blocks: Annotated[int, Field(ge=1)] = 2
    batch_norm: bool = False
    augment: AugmentConfig = AugmentConfig()
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    epochs: Annotated[int, Field(ge=1)] = 20
    patience: Annotated[int, Field(ge=1)] = 4
    learning_rate: Positive = 0.0001
    warmup: Open = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    dropout: Open = 0.3
    label_smoothing: Open = 0.1
    class_weights: bool = False
    checkpoint: Name = "work/fine_tune"


class ShareSpanConfig(Section):
    """Both ends of what is tried of a number from 0 to 1."""

    low: Share = 0.0
    high: Share

    @model_validator(mode="after")
    def _in_order(self) -> ShareSpanConfig:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


class HeadSearchConfig(Section):
    """What is tried of section `adapt.head`."""

    widths: Annotated[tuple[Annotated[int, Field(ge=0, le=8192)], ...], Field(min_length=1)] = (
        0,
        256,
        512,
        1024,
    )
    dropout: ShareSpanConfig = ShareSpanConfig(high=0.7)
    input_dropout: ShareSpanConfig = ShareSpanConfig(high=0.5)
    label_smoothing: ShareSpanConfig = ShareSpanConfig(high=0.2)
    mixup: ShareSpanConfig = ShareSpanConfig(high=0.8)
    learning_rate: SpanConfig = SpanConfig(low=0.0002, high=0.005)
    weight_decay: SpanConfig = SpanConfig(low=0.0001, high=0.1)


class FineTuneSearchConfig(Section):
    """What is tried of section `adapt.fine_tune`."""

    blocks: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4)
    dropout: ShareSpanConfig = ShareSpanConfig(high=0.6)
    label_smoothing: ShareSpanConfig = ShareSpanConfig(high=0.2)
    learning_rate: SpanConfig = SpanConfig(low=0.00002, high=0.001)
    weight_decay: SpanConfig = SpanConfig(low=0.001, high=0.1)


class AdaptSearchConfig(Section):
    """The search for settings of head and fine-tuning, on validation pictures."""

    trials: Annotated[int, Field(ge=0)] = 0
    patience: Annotated[int, Field(ge=1)] = 10
    head: HeadSearchConfig = HeadSearchConfig()
    fine_tune: FineTuneSearchConfig = FineTuneSearchConfig()


class ContrastConfig(Section):
    """Directions learned by the supervised contrastive loss, which stand for election beside the discriminants."""

    enabled: bool = False
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.1
    batch_size: Annotated[int, Field(ge=4, le=8192)] = 256
    epochs: Annotated[int, Field(ge=1)] = 40
    patience: Annotated[int, Field(ge=1)] = 5
    learning_rate: Positive = 0.001
    weight_decay: Annotated[float, Field(ge=0)] = 0.0001


class ProjectionConfig(Section):
    """The projection that look-alikes are compared in."""

    shrinkage: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (
        0.1,
        0.3,
        0.5,
        0.7,
        0.9,
    )
    dimensions: Annotated[int, Field(ge=0, le=4096)] = 128
    keep: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (0.0, 0.2, 0.4)
    labels: Annotated[tuple[Annotated[float, Field(ge=0, le=10)], ...], Field(min_length=1)] = (0.0, 1.0, 2.0)
    contrast: ContrastConfig = ContrastConfig()

    @model_validator(mode="after")
    def _contrast_has_directions(self) -> ProjectionConfig:
        if self.contrast.enabled and self.dimensions == 0:
            raise ValueError("`contrast` starts from leading directions: set `dimensions` above 0")
        return self


class AdaptGateConfig(Section):
    """What an adapted encoder has to reach before it is promoted."""

    promote: bool = True
    stage: Name = "production"
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    min_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None


class AdaptConfig(Section):
    """Stage `adapt`: a head and a projection learned from labels, on stored embeddings or behind fine-tuned blocks."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")] = "catalogue"
    depth: Literal["head", "fine_tune"] = "head"
    labels: LabelsConfig = LabelsConfig()
    split: SplitConfig = SplitConfig()
    fine_tune: FineTuneConfig = FineTuneConfig()
    head: HeadConfig = HeadConfig()
    search: AdaptSearchConfig = AdaptSearchConfig()
    projection: ProjectionConfig = ProjectionConfig()
    gate: AdaptGateConfig = AdaptGateConfig()
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    replicates: Annotated[int, Field(ge=100, le=10_000)] = 1000
    mistakes: Annotated[int, Field(ge=0)] = 5
    scratch: Name | None = None
    seed: int = 42
