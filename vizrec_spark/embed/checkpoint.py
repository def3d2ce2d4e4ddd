"""Read the tensors of a PyTorch checkpoint without PyTorch and without running what its pickle asks for."""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from vizrec_spark.errors import EncoderError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StorageType(NamedTuple):
    dtype: str


class _Entries(OrderedDict[str, Any]):
    """Stands for ``collections.OrderedDict``; its extra attributes are dropped."""

    def __setstate__(self, state: object) -> None:
        return None


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise EncoderError(f"a tensor of the checkpoint has no storage but {storage!r}.")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _TensorsOnly(pickle.Unpickler):
    """Knows four names, each answered by a stand-in of this module; any other is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Entries
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        raise EncoderError(
            f"the checkpoint asks to run {module}.{name}, which is no tensor; it is not a plain file of weights "
            "and was not read."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(length), None):
                return _Storage(key, dtype, length)
        raise EncoderError(f"the checkpoint refers to {pid!r}, which is no storage of tensors.")


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict saved by ``torch.save`` in its older format (not a zip), by name.

    The file is five pickles (magic number, protocol, machine, state dict, order of the storages), then for
    each storage its length as int64 and its numbers, little-endian.
    Raises: EncoderError for anything else, a checkpoint that names code above all.
    """
    stream = io.BytesIO(path.read_bytes())
    try:
        head = [_TensorsOnly(stream).load() for _ in range(2)]
        if head != [_MAGIC, _PROTOCOL]:
            raise EncoderError(f"{path} is no PyTorch checkpoint of the older format.")
        _machine, entries, keys = (_TensorsOnly(stream).load() for _ in range(3))
        if not isinstance(entries, dict):
            raise EncoderError(f"{path} holds a {type(entries).__name__}, not a dict of tensors.")
        tensors = {name: value for name, value in entries.items() if isinstance(value, _Tensor)}
        storages = {value.storage.key: value.storage for value in tensors.values()}
        data = {key: _read_storage(stream, storages[key]) for key in keys}
        return {str(name): _view(value, data[value.storage.key]) for name, value in tensors.items()}
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(
            f"{path} is no readable PyTorch checkpoint: {type(error).__name__}: {error}"
        ) from None


def _read_storage(stream: io.BytesIO, storage: _Storage) -> np.ndarray:
    (count,) = struct.unpack("<q", stream.read(8))
    if count != storage.length:
        raise ValueError(f"storage {storage.key} has {count} numbers, {storage.length} were announced")
    dtype = np.dtype(storage.dtype)
    return np.frombuffer(stream.read(count * dtype.itemsize), dtype=dtype, count=count)


def _view(tensor: _Tensor, data: np.ndarray) -> np.ndarray:
    """The tensor's numbers, copied. Strides count elements; a view that leaves its storage is refused."""
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or tensor.offset < 0 or min((*shape, *strides), default=0) < 0:
        raise ValueError(f"a tensor of shape {shape} with strides {strides} at {tensor.offset}")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) > data.size or last >= data.size:
        raise ValueError(
            f"a tensor of shape {shape} with strides {strides} leaves its storage of {data.size}"
        )
    start = data[tensor.offset :]
    return as_strided(start, shape, [step * data.itemsize for step in strides], writeable=False).copy()
