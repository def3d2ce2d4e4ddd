"""Make any ``.onnx`` image model into an encoder: uint8 RGB in, scaled inside, one float32 vector a picture out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from vizrec_spark.embed.preprocessing import Preprocessing
from vizrec_spark.embed.weights import first_line
from vizrec_spark.errors import EncoderError

PIXELS, VECTORS = "vizrec_rgb", "vizrec_vectors"
_BATCH = "batch"
_CHANNELS_FIRST = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "BatchNormalization",
    }
)
_POINTWISE = frozenset(
    [
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Elu",
        "Selu",
        "Gelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Mish",
        "Tanh",
        "Clip",
        "Erf",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Sqrt",
        "Cast",
        "Identity",
        "Dropout",
        "Concat",
    ]
)


def compose_onnx(
    path: Path, preprocessing: Preprocessing, layer: str | None, input_size: tuple[int, int] | None
) -> tuple[Any, tuple[int, int], int]:
    """The encoder as an ONNX model, its (height, width) and the length of its vectors.

    The model takes one float32 image input, (batch, 3, height, width) or (batch, height, width, 3). `layer` names
    the tensor that is the feature; None: the only output. A feature with height and width is averaged over them.
    What comes after the feature is cut off.

    Raises: EncoderError when the package onnx is missing, the file cannot be read or has another form.
    """
    onnx = _import_onnx()
    try:
        model = onnx.load(str(path))  # weights in files beside it are read too
        # Before version 4 initializers were inputs as well, which they need not be since.
        model.ir_version = max(model.ir_version, 4)
        onnx.checker.check_model(model)
    except Exception as error:
        raise _unreadable(path, error) from None
    taken = _image_input(model, path)
    channels_first, size = _layout(taken, path, input_size)
    feature = layer or _only_output(model, path)
    _cut(model, feature, path)
    shape = [None, 3, *size] if channels_first else [None, *size, 3]
    _set_shape(taken, shape)
    _scale_in_front(model, taken.name, preprocessing, size, channels_first)
    last, rank, dimension = _inferred(onnx, model, feature, path)
    _vector_behind(model, feature, rank, dimension, channels_last=last)
    onnx.checker.check_model(model)
    return model, size, dimension


def weight_files(path: Path) -> list[Path]:
    """The files beside `path` that hold its weights, sorted; none where the model is one file.

    Raises: EncoderError when the package onnx is missing, the file cannot be read, or one of them is not there or lies,
    by its name or by a link, outside the model's folder.
    """
    onnx = _import_onnx()
    from onnx import external_data_helper as external

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise _unreadable(path, error) from None
    names = {
        external.ExternalDataInfo(tensor).location
        for tensor in external._get_all_tensors(model)
        if external.uses_external_data(tensor)
    }
    files = [path.parent / name for name in sorted(names)]
    folder = path.parent.resolve()
    for name, file in zip(sorted(names), files, strict=True):
        # The name comes with the model, which may come from elsewhere.
        if Path(name).is_absolute() or ".." in Path(name).parts or not file.resolve().is_relative_to(folder):
            raise EncoderError(
                f"{path} keeps weights in {name}, outside its own folder, which a model may not read: copy both to one "
                "folder, or save it as one file."
            )
        if not file.is_file():
            raise EncoderError(
                f"{path} keeps weights in {file.name}, which is not beside it: copy both to one folder."
            )
    return files


def _unreadable(path: Path, error: Exception) -> EncoderError:
    return EncoderError(f"{path} cannot be read as an ONNX model: {first_line(error)}")


def model_digest(model: Any) -> str:
    """sha256 over the composed graph, its weights included, without names of the producer."""
    copy = type(model)()
    copy.CopyFrom(model)
    for field in ("producer_name", "producer_version", "domain", "doc_string", "metadata_props"):
        copy.ClearField(field)
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).hexdigest()


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError:
        raise EncoderError(
            "an .onnx encoder needs the package onnx: pip install 'vizrec-spark[onnx]'."
        ) from None
    return onnx


def _image_input(model: Any, path: Path) -> Any:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != 1:
        told = ", ".join(value.name for value in inputs)
        raise EncoderError(f"{path} has the inputs {told}; an encoder takes one, of float32.")
    return inputs[0]


def _layout(taken: Any, path: Path, asked: tuple[int, int] | None) -> tuple[bool, tuple[int, int]]:
    dims = [d.dim_value if d.HasField("dim_value") else None for d in taken.type.tensor_type.shape.dim]
    if len(dims) != 4 or 3 not in (dims[1], dims[3]):
        raise EncoderError(
            f"{path} takes {dims}; an encoder takes (batch, 3, height, width) or (batch, height, width, 3)."
        )
    channels_first = dims[1] == 3
    own = tuple(dims[2:4] if channels_first else dims[1:3])
    size = asked or own
    height, width = size
    if height is None or width is None:
        raise EncoderError(f"{path} takes any size; set embed.input_size, e.g. [224, 224].")
    if any(mine not in (None, wanted) for mine, wanted in zip(own, size, strict=True)):
        raise EncoderError(f"{path} takes pictures of {own}, embed.input_size is {size}.")
    return channels_first, (int(height), int(width))


def _only_output(model: Any, path: Path) -> str:
    names = [value.name for value in model.graph.output]
    if len(names) != 1:
        raise EncoderError(
            f"{path} has the outputs {', '.join(names)}: set embed.layer to the one that is the feature."
        )
    return str(names[0])


def _cut(model: Any, feature: str, path: Path) -> None:
    """Leaves what `feature` needs, and nothing else."""
    makers = {name: node for node in model.graph.node for name in node.output}
    if feature not in makers:
        last = ", ".join(name for node in list(model.graph.node)[-6:] for name in node.output)
        raise EncoderError(
            f"embed.layer = {feature!r} is no tensor that {path} computes; its last ones: {last}."
        )
    needed: set[str] = set()
    waiting = [feature]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers:
            waiting.extend(makers[name].input)
            waiting.extend(_captured(makers[name]))
    graph = model.graph
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    inputs = [value for value in graph.input if value.name in needed]
    for field, kept in (("node", nodes), ("initializer", weights), ("input", inputs)):
        graph.ClearField(field)
        getattr(graph, field).extend(kept)
    graph.ClearField("output")
    graph.ClearField("value_info")


def _captured(node: Any) -> list[str]:
    """Names that the branches of an If or the body of a Loop take from outside."""
    graphs = [a.g for a in node.attribute if a.HasField("g")]
    inner = [n for graph in graphs for n in graph.node]
    return [name for n in inner for name in [*n.input, *_captured(n)]]


def _set_shape(value: Any, shape: list[int | None]) -> None:
    dims = value.type.tensor_type.shape.dim
    for dim, size in zip(dims, shape, strict=True):
        if size is None:
            dim.Clear()
            dim.dim_param = _BATCH
        else:
            dim.dim_value = size


def _scale_in_front(
    model: Any, name: str, rule: Preprocessing, size: tuple[int, int], channels_first: bool
) -> None:
    """Replaces the input by uint8 (batch, height, width, 3): cast, reorder, scale, and channels first if need be."""
    from onnx import TensorProto, helper, numpy_helper

    mean, scale = np.asarray(rule.mean, dtype=np.float32), np.asarray(rule.scale, dtype=np.float32)
    order = np.asarray([2, 1, 0] if rule.order == "bgr" else [0, 1, 2], dtype=np.int64)
    constants = {"vizrec_mean": mean, "vizrec_scale": scale, "vizrec_order": order}
    last = name if not channels_first else "vizrec_scaled"
    nodes = [
        helper.make_node("Cast", [PIXELS], ["vizrec_float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["vizrec_float", "vizrec_order"], ["vizrec_ordered"], axis=3),
        helper.make_node("Sub", ["vizrec_ordered", "vizrec_mean"], ["vizrec_centred"]),
        helper.make_node("Div", ["vizrec_centred", "vizrec_scale"], [last]),
    ]
    if channels_first:
        nodes.append(helper.make_node("Transpose", [last], [name], perm=[0, 3, 1, 2]))
    graph = model.graph
    rest = list(graph.node)
    graph.ClearField("node")
    graph.node.extend([*nodes, *rest])
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    graph.ClearField("input")
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [_BATCH, *size, 3]))


def _inferred(onnx: Any, model: Any, feature: str, path: Path) -> tuple[bool, int, int]:
    """Whether the feature has its numbers last behind height and width, its rank, and how many numbers it has."""
    probe = type(model)()
    probe.CopyFrom(model)
    probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(feature))
    try:
        inferred = onnx.shape_inference.infer_shapes(probe, strict_mode=True, data_prop=True)
    except Exception as error:
        raise EncoderError(f"the shapes of {path} cannot be inferred: {first_line(error)}") from None
    dims = [
        d.dim_value if d.HasField("dim_value") else None
        for d in inferred.graph.output[0].type.tensor_type.shape.dim
    ]
    if dims and dims[0] is not None:
        raise EncoderError(
            f"{path} is made for batches of {dims[0]}, whatever its input says (a Reshape, for one, has it built in): "
            "export it anew with a dynamic batch size."
        )
    last = len(dims) == 4 and _channels_last(model, feature, path)
    dimension = dims[3 if last else 1] if len(dims) in (2, 4) else None
    if not dimension:
        raise EncoderError(
            f"{feature!r} of {path} is {dims}, not (batch, numbers) or (batch, numbers, height, width): set "
            "embed.layer to a tensor that is."
        )
    return last, len(dims), int(dimension)


def _channels_last(model: Any, feature: str, path: Path) -> bool:
    """Whether a feature with height and width has its numbers last.

    ONNX convolves and pools channels first, so a tensor has that order unless a Transpose has changed it since.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    name = feature
    while name in makers:
        node = makers[name]
        if node.op_type in _CHANNELS_FIRST:
            return False
        if node.op_type == "Transpose":
            perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
            if perm in ([0, 2, 3, 1], [0, 3, 1, 2]):
                return perm == [0, 2, 3, 1]
            break
        if node.op_type not in _POINTWISE:
            break
        name = next((n for n in node.input if n in makers), "")
    raise EncoderError(
        f"{feature!r} of {path} has four dimensions, and which of them are its numbers cannot be told: set embed.layer "
        "to the output of a convolution or pooling, or to a tensor (batch, numbers)."
    )


def _vector_behind(model: Any, feature: str, rank: int, dimension: int, *, channels_last: bool) -> None:
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Cast", [feature], ["vizrec_wide"], to=TensorProto.FLOAT)]
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["vizrec_wide"], ["vizrec_first"], perm=[0, 3, 1, 2]))
    if rank == 4:
        nodes.append(helper.make_node("GlobalAveragePool", [nodes[-1].output[0]], ["vizrec_pooled"]))
    nodes.append(helper.make_node("Flatten", [nodes[-1].output[0]], [VECTORS], axis=1))
    model.graph.node.extend(nodes)
    model.graph.output.append(helper.make_tensor_value_info(VECTORS, TensorProto.FLOAT, [_BATCH, dimension]))
