"""Cut a Keras model where its features are."""

from __future__ import annotations

from typing import Any

from vizrec_spark.errors import EncoderError
from vizrec_spark.kernels.keras_import import import_keras

_POOLING = ("GlobalAveragePooling2D", "GlobalMaxPooling2D")
_PASSING = ("Activation", "Softmax", "Reshape", "Flatten", "Dropout")
_PROBABILITIES = ("softmax", "sigmoid")


def cut_model(model: Any, layer: str | None) -> Any:
    """`model` ending at its feature, one float vector a picture: output shape (batch, d).

    With `layer` given, at the output of that layer. Otherwise, going back from the output:

    - a global pooling layer (through reshapes and dropouts only): there;
    - a dense or 1×1 convolution layer that ends in softmax or sigmoid is a classification head: at its input;
    - anything else is ambiguous (a last dense layer without such an activation can be a projection or a head).

    An output with height and width is averaged over them.
    Raises: EncoderError when there is no such layer, or it is ambiguous, naming the candidates.
    """
    keras = import_keras()
    if not getattr(model, "inputs", None) or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise EncoderError(
            "an encoder needs a Functional or Sequential Keras model with one input and one output."
        )
    tensor = _layer_output(model, layer) if layer is not None else _feature_tensor(model)
    if len(tensor.shape) == 4:
        tensor = keras.layers.GlobalAveragePooling2D(name="feature_pooling")(tensor)
    if len(tensor.shape) != 2 or tensor.shape[1] is None:
        raise EncoderError(
            f"layer {layer or model.layers[-1].name!r} gives {tensor.shape}, not one vector a picture; "
            f"set embed.layer to one that does: {_last_names(model)}."
        )
    return keras.Model(model.inputs, tensor, name=model.name)


def _layer_output(model: Any, name: str) -> Any:
    for candidate in model.layers:
        if candidate.name == name:
            return candidate.output
    raise EncoderError(
        f"embed.layer = {name!r} is no layer of {model.name}; its last ones: {_last_names(model)}."
    )


def _feature_tensor(model: Any) -> Any:
    tensor = model.outputs[0]
    probabilities = False
    while True:
        layer = tensor._keras_history.operation
        kind = type(layer).__name__
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        probabilities = probabilities or kind == "Softmax" or activation in _PROBABILITIES
        if kind in _POOLING and not probabilities:
            return tensor
        if kind in _PASSING:
            tensor = layer.input
        elif kind == "Dense" or (kind == "Conv2D" and tuple(layer.kernel_size) == (1, 1)):
            if probabilities:
                return layer.input
            break
        else:
            break
    raise EncoderError(
        f"{model.name} ends in layer {layer.name!r} ({kind}), which is neither global pooling nor a classification "
        f"head; set embed.layer to the one whose output is the feature, e.g. one of {_last_names(model)}."
    )


def _last_names(model: Any) -> str:
    return ", ".join(layer.name for layer in model.layers[-6:])
