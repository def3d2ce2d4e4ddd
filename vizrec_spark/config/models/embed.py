"""Section `embed`: the encoder and how it is run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from vizrec_spark.config.models.section import Name, Section, Share, without_secrets


class AffinePreprocessing(Section):
    """Pixels x in [0, 255] become (x - mean) / scale."""

    mean: float
    scale: Annotated[float, Field(gt=0)]


class EmbedConfig(Section):
    """Stage `embed`: the encoder and how it is run."""

    encoder: Name = "keras.applications:ResNet50"
    weights: Name | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    layer: Name | None = None
    input_size: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] | None = None
    preprocessing: Literal["auto", "caffe", "tf", "torch", "identity"] | AffinePreprocessing = "auto"
    options: dict[str, int | float | str | bool] = {}
    cache: Name = "work/encoders"
    runtime: Literal["auto", "tensorflow", "openvino", "onnxruntime"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[int, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    partitions: Annotated[int, Field(ge=1)] | None = None
    chunk: Annotated[int, Field(ge=1)] | None = None
    reembed: bool = False
    max_failed_share: Share = 0.05

    @field_validator("options")
    @classmethod
    def _no_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        without_secrets(
            options,
            "they are arguments of the model; what its weights need, give by a file (`embed.weights`)",
        )
        return options
