"""A base that has learned from pictures before: none of these is judged on, and its file stays what it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from vizrec_spark.adapt.encoders import KerasFile
from vizrec_spark.adapt.fine_tune import make
from vizrec_spark.adapt.fine_tune.make import Labelled, Workshop
from vizrec_spark.adapt.fine_tune.pixels import Placed
from vizrec_spark.adapt.pictures import Pictures
from vizrec_spark.adapt.split import keys_of, stratified
from vizrec_spark.adapt.spool import Features
from vizrec_spark.adapt.stage import _because, _parts
from vizrec_spark.adapt.stage import check as adapt_check
from vizrec_spark.adapt.task import Task, require_parts
from vizrec_spark.app import adapting
from vizrec_spark.config import load_config
from vizrec_spark.config.models import AdaptConfig
from vizrec_spark.embed.fingerprint import at_precision
from vizrec_spark.embed.stage import check as embed_check
from vizrec_spark.errors import EncoderError, LabelError
from vizrec_spark.stage import StageContext

N = 60
NAMES = pa.array([f"{number:064x}" for number in range(N)], pa.string())
TRUTH = np.eye(3, dtype=bool)[np.arange(N) % 3]
TASK = Task("multi_class", ("a", "b", "c"))
NOTHING = pa.table({"sha256": pa.array([], pa.string()), "part": pa.array([], pa.string())})


def pictures(part: Any = None, alike: tuple[int, int] | None = None) -> tuple[Pictures, Features]:
    """N pictures, of which two may be nearly the same."""
    raw = np.eye(N, dtype=np.float32)
    if alike is not None:
        raw[alike[0]] = raw[alike[1]]
    labels = pa.array([[TASK.classes[n % 3]] for n in range(N)])
    hashed = np.isin(np.arange(N), alike or ())
    return Pictures(NAMES, labels, part, np.zeros(N, np.int64), hashed, False), Features(raw)


def known(part: Any) -> pa.Table:
    """What a base has kept that has learned by these parts."""
    rows = np.isin(part, ("train", "validation"))
    return pa.table({"sha256": NAMES.filter(pa.array(rows)), "part": pa.array(part[rows], pa.string())})


def dealt(seed: int, before: pa.Table, part: Any = None, alike: tuple[int, int] | None = None) -> Any:
    mine, features = pictures(part, alike)
    return _parts(mine, TRUTH, features, AdaptConfig(seed=seed), before)[0]


def test_what_a_base_has_learned_from_is_never_in_test_however_parts_are_dealt() -> None:
    first = dealt(1, NOTHING)
    learned = np.isin(first, ("train", "validation"))
    assert (dealt(2, NOTHING)[learned] == "test").any()  # without a memory it leaks
    again = dealt(2, known(first))
    assert set(again[learned]) == {"train", "validation"} and (again[learned] == first[learned]).all()
    assert (again == "test").sum() == (first == "test").sum()
    assert (dealt(1, known(first)) == first).all()


def test_the_like_of_what_was_learned_from_is_not_judged_either() -> None:
    first = dealt(1, NOTHING)
    learned, free = np.flatnonzero(first == "train")[0], np.flatnonzero(first == "test")[0]
    both = dealt(1, known(first), alike=(learned, free))[[learned, free]]
    assert both.tolist() == ["train", "train"]
    named = np.where(np.arange(N) % 4 == 0, "test", "train")
    copied = dealt(1, known(named), np.where(np.arange(N) == 1, "test", named), (1, 2))
    assert copied[1] == "left_out" and (copied == "test").sum() == (named == "test").sum()


def test_where_nothing_is_left_to_judge_it_is_said() -> None:
    everything = known(np.repeat("train", N))
    mine, _ = pictures()
    config = load_config(None, ["embed.encoder=fine_tuned:shop_tuned-1"])
    because = _because(everything, mine, config)
    part = dealt(1, everything)
    assert not (part == "test").any()
    with pytest.raises(
        LabelError, match=r"part validation.*shop_tuned-1' has learned from 60 of 60 pictures"
    ):
        require_parts(TRUTH, part, TASK, named=False, because=because)
    assert _because(NOTHING, mine, config) == ""


def test_parts_without_a_base_that_has_learned_are_as_ever() -> None:
    groups, keys = np.arange(N), keys_of(NAMES.to_pylist(), 3)
    nothing = np.full(N, "", "<U10")
    assert (
        stratified(TRUTH, groups, keys, 0.2, 0.2, nothing) == stratified(TRUTH, groups, keys, 0.2, 0.2)
    ).all()


def test_a_base_hands_on_what_it_has_learned_from() -> None:
    part = np.repeat(["train", "validation", "test"], 20)
    before = pa.table({"sha256": [NAMES[0].as_py(), "f" * 64], "part": ["validation", "train"]})
    kept = Labelled(NAMES, pictures()[1], TRUTH, part, before).learned()
    found = dict(zip(kept["sha256"].to_pylist(), kept["part"].to_pylist(), strict=True))
    assert len(kept) == len(found) == 41
    assert (found[NAMES[0].as_py()], found["f" * 64], NAMES[59].as_py() in found) == ("train", "train", False)


def workshop(tmp_path: Path, name: str = "shop") -> Workshop:
    config = load_config(None, [f"adapt.name={name}", f"adapt.fine_tune.checkpoint={tmp_path}"])
    part = np.repeat(["train", "validation", "test"], 20)
    labelled = Labelled(NAMES, pictures()[1], TRUTH, part, NOTHING)
    source = KerasFile("tiny-1", tmp_path / "none.keras", (16, 16), N)
    context = cast("StageContext", SimpleNamespace(config=config, tables=None, spark=None))
    return Workshop(context, source, labelled, TASK, cast("Any", None), tmp_path)


def test_room_is_set_aside_for_pictures_that_are_learned_from_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spooled(_: Any, names: pa.StringArray, *__: Any, **___: Any) -> Any:
        assert names.to_pylist() == NAMES.to_pylist()[:40]
        pixels = np.arange(40, dtype=np.uint8).repeat(3).reshape(40, 1, 1, 3)
        return pixels, np.arange(40) != 7

    monkeypatch.setattr(make, "contents_of", lambda *_: None)
    monkeypatch.setattr(make, "spool_pixels", spooled)
    lesson = workshop(tmp_path)._lesson
    assert lesson.early.tolist() == [n for n in range(20) if n != 7] and lesson.held.tolist() == list(
        range(20, 40)
    )
    assert lesson.pixels[np.array([3, 39])][:, 0, 0, 0].tolist() == [3, 39]
    assert lesson.pixels.shape == (N, 1, 1, 3)


def test_a_row_without_a_picture_is_no_other_row() -> None:
    placed = Placed(np.zeros((1, 2, 2, 3), np.uint8), np.array([-1, 0]))
    with pytest.raises(IndexError, match="without a picture"):
        placed[np.array([0])]


def test_checkpoints_of_the_name_go_but_those_in_use_and_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = workshop(tmp_path)
    settings = mine._config.fine_tune
    monkeypatch.setattr(make, "fine_tune", lambda *_, **__: None)
    monkeypatch.setattr(Workshop, "_lesson", None)
    mine.train(settings)
    mine.train(settings.model_copy(update={"blocks": 1}))
    workshop(tmp_path, "other").train(settings)
    assert len(list(tmp_path.glob("shop-*"))) == 2
    with make.claimed(mine._folder(settings)):
        mine._tidy()
        assert list(tmp_path.glob("shop-*")) == [mine._folder(settings)]
    mine._tidy()
    assert [folder.name.split("-")[0] for folder in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_encoder_is_fine_tuned_on_its_own_vectors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    built = SimpleNamespace(encoder_id="tiny-1", path=tmp_path, input_size=(16, 16), dimension=8)
    monkeypatch.setattr(adapting, "built_encoder", lambda *_: (built, "file"))
    context = cast("StageContext", SimpleNamespace(config=load_config(None, []), tables=None))
    stored = at_precision("tiny-1", precision, "openvino")
    monkeypatch.setattr(adapting, "current_encoder", lambda *_: stored)
    assert adapting.EmbedEncoders().keras_file(context).encoder_id == "tiny-1"
    monkeypatch.setattr(adapting, "current_encoder", lambda *_: "tiny-2")
    with pytest.raises(
        EncoderError, match=r"makes encoder tiny-1, the stored vectors are those of tiny-2.*Run embed"
    ):
        adapting.EmbedEncoders().keras_file(context)


@pytest.mark.parametrize(
    "option",
    [
        *("input_size=[32, 32]", "layer=x", "weights=imagenet", "preprocessing=tf", "options={alpha: 1}"),
        f"sha256={'a' * 64}",
    ],
)
def test_a_fine_tuned_encoder_takes_no_options(option: str) -> None:
    config = load_config(None, ["embed.encoder=fine_tuned:shop_tuned-1", f"embed.{option}"])
    for check in (embed_check, adapt_check):
        with pytest.raises(EncoderError, match=rf"embed\.{option.split('=')[0]} would change nothing"):
            check(config)
    embed_check(load_config(None, ["embed.encoder=fine_tuned:shop_tuned-1", "embed.precision=float32"]))
