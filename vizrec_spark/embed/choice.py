"""Which runtime runs an encoder and at which precision: chosen from what is installed and what the machine can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Literal, NamedTuple

from vizrec_spark.embed.encoder import Kind
from vizrec_spark.errors import EncoderError

RuntimeName = Literal["tensorflow", "openvino", "onnxruntime"]
Precision = Literal["float32", "bfloat16"]

# Instructions that multiply bfloat16: AVX-512 and AMX on x86, the ARM extension.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_GPU_CONF = ("spark.task.resource.gpu.amount", "spark.executor.resource.gpu.amount")


@dataclass(frozen=True)
class Machine:
    """What a choice rests on: packages that are installed, and what the processors can do."""

    openvino: bool
    onnxruntime: bool
    cpu_bfloat16: bool
    gpu: bool

    @classmethod
    def here(cls, spark_conf: Mapping[str, str] | None = None) -> Machine:
        """This machine; its GPU only where Spark grants its tasks one, or in local mode, where they run on it.

        Executors are taken to be like the driver; `vizrec_spark.embed.runtimes` refuses a precision there that a
        CPU does not have.
        """
        conf = spark_conf or {}
        granted = any(float(conf.get(key, "0") or 0) > 0 for key in _GPU_CONF)
        local = conf.get("spark.master", "local").startswith("local")
        openvino = find_spec("openvino") is not None and find_spec("scipy") is not None
        return cls(
            openvino=openvino,
            onnxruntime=find_spec("onnxruntime") is not None,
            cpu_bfloat16=cpu_has_bfloat16() and (not openvino or openvino_has_bfloat16()),
            gpu=(granted or (local and gpu_present())) and tensorflow_for_gpu(),
        )


@dataclass(frozen=True)
class Choice:
    """A runtime, a precision, and why, as a clause for the log."""

    runtime: RuntimeName
    precision: Precision
    why: str


class Recorded(NamedTuple):
    """How the vectors that are there were made: the runtime is None for float32, which is the same in all."""

    precision: Precision
    runtime: RuntimeName | None


def choose(
    kind: Kind,
    machine: Machine,
    runtime: str = "auto",
    precision: str = "auto",
    recorded: Recorded | None = None,
) -> Choice:
    """The fastest runtime for an encoder of `kind` on `machine`, or the one that is asked for.

    `recorded` is how the vectors were made that the tables already hold under this configuration: ``auto`` stays
    with it, so that another machine does not encode a whole catalogue anew.

    Raises: EncoderError when what is asked for, or recorded, cannot run here.
    """
    if recorded is not None and recorded.runtime is not None and precision != "float32":
        if runtime == "auto":
            runtime = recorded.runtime
        elif precision == "auto" and runtime != recorded.runtime:
            raise EncoderError(
                f"the embeddings of this encoder were made in {recorded.precision} by {recorded.runtime}, and those of "
                f"{runtime} differ. Set embed.runtime=auto to go on with them, or embed.precision, which encodes every "
                "picture anew."
            )
    name, why = _runtime(kind, machine, runtime)
    fits = _precisions(name, machine)
    if precision == "auto" and recorded is not None:
        if recorded.precision not in fits:
            raise EncoderError(
                f"the embeddings of this encoder were made in {recorded.precision}, which {name} cannot do here. Run "
                "stage `embed` where it can, or set embed.precision=float32, which encodes every picture anew."
            )
        return Choice(name, recorded.precision, f"{why}; {recorded.precision}, as the vectors that are there")
    if precision == "auto":
        fast = "bfloat16" in fits and (name == "openvino" or machine.gpu)
        reason = _why_precision(name, machine, fast)
        return Choice(name, "bfloat16" if fast else "float32", f"{why}; {reason}")
    if precision not in fits:
        raise EncoderError(
            f"embed.precision = {precision} does not work with runtime {name} on this machine, which can do "
            f"{' and '.join(fits)}."
        )
    return Choice(
        name, "bfloat16" if precision == "bfloat16" else "float32", f"{why}; {precision} as configured"
    )


def cpu_flags() -> frozenset[str]:
    """The instruction sets that Linux reports for this CPU; empty where it reports none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    named = (line for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(named, "").partition(":")[2].split())


def cpu_has_bfloat16() -> bool:
    """Whether this CPU has instructions that multiply bfloat16."""
    return not _BFLOAT16_FLAGS.isdisjoint(cpu_flags())


def openvino_has_bfloat16() -> bool:
    """Whether OpenVINO, which must be installed, uses such instructions: on ARM it may not, although they are there."""
    import openvino as ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def gpu_present() -> bool:
    """Whether this machine shows an NVIDIA GPU; found without TensorFlow, whose import takes seconds."""
    return which("nvidia-smi") is not None and Path("/proc/driver/nvidia/version").exists()


def tensorflow_for_gpu() -> bool:
    """Whether the TensorFlow that is installed is the one that can have CUDA, not ``tensorflow-cpu``."""
    try:
        version("tensorflow")
    except PackageNotFoundError:
        return False
    return True


def _runtime(kind: Kind, machine: Machine, asked: str) -> tuple[RuntimeName, str]:
    onnx = kind == "onnx"
    if asked == "auto":
        if onnx and not (machine.openvino or machine.onnxruntime):
            raise EncoderError(
                "an .onnx encoder needs a runtime: pip install 'vizrec-spark[onnx]' (ONNX Runtime) or "
                "'vizrec-spark[openvino]', which is faster on CPUs with bfloat16."
            )
        if machine.gpu and not onnx:
            return "tensorflow", "a GPU is there"
        if machine.openvino:
            return "openvino", "the fastest on a CPU, and installed"
        if onnx:
            return "onnxruntime", "it is installed, OpenVINO is not"
        return "tensorflow", "OpenVINO, about twice as fast, is not installed (vizrec-spark[openvino])"
    if asked == "tensorflow" and onnx:
        raise EncoderError(
            "embed.runtime = tensorflow cannot run an .onnx encoder: take auto, openvino or onnxruntime."
        )
    if asked == "onnxruntime" and not onnx:
        raise EncoderError(
            "embed.runtime = onnxruntime runs .onnx encoders only: take auto, tensorflow or openvino, or name an "
            ".onnx file as embed.encoder."
        )
    if asked != "tensorflow" and not getattr(machine, asked):
        extra = "onnx" if asked == "onnxruntime" else "openvino"
        raise EncoderError(f"embed.runtime = {asked} is not installed: pip install 'vizrec-spark[{extra}]'.")
    found: Mapping[str, RuntimeName] = {
        "tensorflow": "tensorflow",
        "openvino": "openvino",
        "onnxruntime": "onnxruntime",
    }
    return found[asked], "as configured"


def _precisions(name: RuntimeName, machine: Machine) -> tuple[Precision, ...]:
    able = (name != "onnxruntime" and machine.cpu_bfloat16) or (name == "tensorflow" and machine.gpu)
    return ("float32", "bfloat16") if able else ("float32",)


def _why_precision(name: RuntimeName, machine: Machine, fast: bool) -> str:
    if fast:
        return (
            "bfloat16, for which the GPU has units"
            if machine.gpu
            else "bfloat16, for which this CPU has instructions"
        )
    if name == "openvino":
        return "float32, as this CPU has no bfloat16 instructions"
    return f"float32, which {name} runs everywhere"
