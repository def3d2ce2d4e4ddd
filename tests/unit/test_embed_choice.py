"""Which runtime and precision are taken, for every kind of machine."""

from __future__ import annotations

import pytest

from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.embed import choice as choice_module
from vizrec_spark.embed.choice import Machine, Recorded, choose
from vizrec_spark.embed.fingerprint import at_precision
from vizrec_spark.errors import EncoderError
from vizrec_spark.tables.encoders import encoder_key

BARE = {"openvino": False, "onnxruntime": False, "cpu_bfloat16": False, "gpu": False}


def machine(*able: str) -> Machine:
    return Machine(**(BARE | dict.fromkeys(able, True)))


@pytest.mark.parametrize(
    ("kind", "able", "expected"),
    [
        ("application", (), ("tensorflow", "float32")),
        ("application", ("cpu_bfloat16",), ("tensorflow", "float32")),
        ("application", ("onnxruntime",), ("tensorflow", "float32")),
        ("application", ("openvino",), ("openvino", "float32")),
        ("application", ("openvino", "cpu_bfloat16"), ("openvino", "bfloat16")),
        ("application", ("openvino", "cpu_bfloat16", "gpu"), ("tensorflow", "bfloat16")),
        ("onnx", ("onnxruntime",), ("onnxruntime", "float32")),
        ("onnx", ("onnxruntime", "openvino"), ("openvino", "float32")),
        ("onnx", ("openvino", "cpu_bfloat16", "gpu"), ("openvino", "bfloat16")),
    ],
)
def test_auto_takes_the_fastest_there_is(kind: str, able: tuple[str, ...], expected: tuple[str, str]) -> None:
    choice = choose(kind, machine(*able))  # type: ignore[arg-type]
    assert (choice.runtime, choice.precision) == expected
    assert choice.why


def test_what_is_asked_for_is_taken() -> None:
    every = machine("openvino", "onnxruntime", "cpu_bfloat16")
    assert choose("file", every, "tensorflow", "bfloat16").precision == "bfloat16"
    assert choose("file", every, "openvino", "float32").precision == "float32"
    assert choose("onnx", every, "onnxruntime").runtime == "onnxruntime"


@pytest.mark.parametrize(
    ("kind", "able", "asked", "words"),
    [
        ("onnx", (), ("auto", "auto"), r"vizrec-spark\[onnx\]"),
        ("onnx", ("openvino",), ("tensorflow", "auto"), "cannot run an .onnx"),
        ("file", ("onnxruntime",), ("onnxruntime", "auto"), "runs .onnx encoders only"),
        ("file", (), ("openvino", "auto"), r"not installed: pip install 'vizrec-spark\[openvino\]'"),
        ("file", ("openvino",), ("openvino", "bfloat16"), "can do float32"),
        ("file", (), ("tensorflow", "bfloat16"), "can do float32"),
        ("onnx", ("onnxruntime", "cpu_bfloat16"), ("onnxruntime", "bfloat16"), "can do float32"),
    ],
)
def test_what_cannot_run_is_refused(
    kind: str, able: tuple[str, ...], asked: tuple[str, str], words: str
) -> None:
    with pytest.raises(EncoderError, match=words):
        choose(kind, machine(*able), *asked)  # type: ignore[arg-type]


def test_auto_stays_with_the_precision_and_runtime_of_the_vectors_that_are_there() -> None:
    able = machine("openvino", "cpu_bfloat16")
    full, ours, theirs = (
        Recorded("float32", None),
        Recorded("bfloat16", "openvino"),
        Recorded("bfloat16", "tensorflow"),
    )
    assert choose("application", able, recorded=full).precision == "float32"
    assert choose("application", able, recorded=theirs).runtime == "tensorflow"
    assert (
        choose("application", machine("openvino", "cpu_bfloat16", "gpu"), recorded=ours).runtime == "openvino"
    )
    with pytest.raises(EncoderError, match="were made in bfloat16"):
        choose("application", machine("openvino"), recorded=ours)
    with pytest.raises(EncoderError, match=r"in bfloat16 by openvino, and those of tensorflow differ"):
        choose("application", able, "tensorflow", recorded=ours)
    assert choose("application", able, "tensorflow", "bfloat16", recorded=ours).runtime == "tensorflow"
    assert choose("application", able, precision="bfloat16", recorded=full).precision == "bfloat16"
    assert choose("application", able, precision="float32", recorded=theirs).runtime == "openvino"


def test_a_gpu_that_spark_grants_counts_if_tensorflow_can_use_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice_module, "gpu_present", lambda: False)
    for cuda in (True, False):
        monkeypatch.setattr(choice_module, "tensorflow_for_gpu", lambda cuda=cuda: cuda)
        assert Machine.here({"spark.task.resource.gpu.amount": "0.5"}).gpu is cuda
        assert not Machine.here({"spark.task.resource.gpu.amount": "0"}).gpu
    assert not Machine.here().gpu


def test_a_gpu_of_the_driver_alone_counts_in_local_mode_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice_module, "gpu_present", lambda: True)
    monkeypatch.setattr(choice_module, "tensorflow_for_gpu", lambda: True)
    assert Machine.here({"spark.master": "local[2]"}).gpu
    assert not Machine.here({"spark.master": "yarn"}).gpu
    assert Machine.here({"spark.master": "yarn", "spark.task.resource.gpu.amount": "1"}).gpu


@pytest.mark.parametrize("uses", [True, False])
def test_openvino_itself_says_whether_it_uses_bfloat16(monkeypatch: pytest.MonkeyPatch, uses: bool) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(choice_module, "cpu_flags", lambda: frozenset({"bf16"}))
    monkeypatch.setattr(choice_module, "openvino_has_bfloat16", lambda: uses)
    assert Machine.here().cpu_bfloat16 is uses


def test_each_precision_has_an_id_of_its_own_and_bfloat16_one_for_each_runtime() -> None:
    one = "resnet50-0123456789ab"
    assert at_precision(one, "float32", "openvino") == at_precision(one, "float32", "tensorflow") == one
    half = at_precision(one, "bfloat16", "openvino")
    assert half.startswith("resnet50_bfloat16-") and len(half.rpartition("-")[2]) == 12
    assert half != at_precision("resnet50-0123456789ac", "bfloat16", "openvino")
    assert half != at_precision(one, "bfloat16", "tensorflow")


def test_the_runtime_is_no_part_of_the_configured_name_and_a_set_precision_is() -> None:
    plain = encoder_key(EmbedConfig())
    assert encoder_key(EmbedConfig(runtime="tensorflow")) == plain
    assert "precision" not in plain
    assert (
        encoder_key(EmbedConfig(precision="bfloat16"))
        != encoder_key(EmbedConfig(precision="float32"))
        != plain
    )


def test_reembed_is_a_flag_of_the_job_for_one_run() -> None:
    from jobs.embed import build_parser
    from vizrec_spark.config import load_config

    args = build_parser().parse_args(["--set", "embed.batch_size=3", "--reembed"])
    assert load_config(None, args.overrides).embed.reembed
    assert load_config(None, args.overrides).embed.batch_size == 3
    assert not load_config(None, build_parser().parse_args([]).overrides).embed.reembed


def test_the_console_command_takes_both_flags() -> None:
    from vizrec_spark.app.cli import build_parser

    assert build_parser().parse_args(["embed", "--reembed"]).overrides == ["embed.reembed=true"]
    assert build_parser().parse_args(["encoders", "--prune"]).prune
    assert not build_parser().parse_args(["encoders"]).prune
