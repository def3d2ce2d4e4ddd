"""The image that is not built here: what its Dockerfile names is there, and it has what the jobs need."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from setuptools import Distribution
from setuptools._distutils.core import run_setup

from vizrec_spark.config import load_config

DRIVERS = ("embed.cache", "report.path", "tune.output", "evaluate.gate.output")
"""Paths on the driver's own disk, which docs/operations.md names."""

SERVICE = {"serve", "app/serve.py", "app/look.py", "app/live.py"}
"""Parts of the package that are no job, and that the image does not run: docs/operations.md says so."""


@pytest.fixture(scope="module")
def steps(repository: Path) -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile, and what stands behind it."""
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines) if name]


@pytest.fixture(scope="module")
def package(repository: Path) -> Distribution:
    with pytest.MonkeyPatch.context() as here:
        here.chdir(repository)
        return run_setup("setup.py", stop_after="init")


def copied(steps: list[tuple[str, str]]) -> Iterator[tuple[list[str], str]]:
    """What comes from the repository, and where it goes."""
    for name, rest in steps:
        if name == "COPY" and not rest.startswith("--from="):
            *sources, target = shlex.split(rest)
            yield sources, target


def extras(steps: list[tuple[str, str]]) -> set[str]:
    """Those that are installed with the package."""
    found = re.search(
        r"pip install .*'\.\[([\w,]+)\]'", next(rest for _, rest in steps if "pip install" in rest)
    )
    assert found is not None
    return set(found[1].split(","))


def test_what_is_copied_is_there_and_not_left_out(repository: Path, steps: list[tuple[str, str]]) -> None:
    left_out = (repository / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [source for group, _ in copied(steps) for source in group]
    assert {"setup.py", "constraints.txt", "vizrec_spark", "jobs", "conf"} <= set(sources)
    assert [source for source in sources if not (repository / source).exists()] == []
    assert [source for source in sources if any(fnmatch(source, one) for one in left_out)] == []


def test_the_package_is_installed_from_what_was_copied_before(
    repository: Path, steps: list[tuple[str, str]], package: Distribution
) -> None:
    installs = next(n for n, (name, rest) in enumerate(steps) if name == "RUN" and "pip install" in rest)
    before = {source for group, _ in copied(steps[:installs]) for source in group}
    opened = set(re.findall(r'HERE / "([\w.]+)"', (repository / "setup.py").read_text(encoding="utf-8")))
    assert {"setup.py", "pyproject.toml"} | opened <= before
    assert extras(steps) <= set(package.extras_require)


def test_it_has_what_each_job_imports(
    repository: Path, steps: list[tuple[str, str]], package: Distribution
) -> None:
    asked = [*package.install_requires, *(r for e in extras(steps) for r in package.extras_require[e])]
    there = {Requirement(text).name.lower().replace("_", "-") for text in asked}
    root, distributions = repository / "vizrec_spark", packages_distributions()
    files = [
        file
        for file in sorted(root.rglob("*.py"))
        if not SERVICE & {file.relative_to(root).parts[0], str(file.relative_to(root))}
    ]
    missing = {}
    for file in [*files, *sorted((repository / "jobs").glob("*.py"))]:
        for name in imported(file) - set(sys.stdlib_module_names) - {"vizrec_spark"}:
            of = {one.lower().replace("_", "-") for one in distributions.get(name, [name])}
            if not of & there:
                missing[name] = str(file.relative_to(repository))
    assert missing.keys() <= {"py4j", "markupsafe"}, missing  # which pyspark and Jinja2 bring


def imported(file: Path) -> set[str]:
    """Top-level names of the packages that a module imports, wherever in it; not its own."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def test_versions_and_places_are_those_of_the_other_files(
    repository: Path, steps: list[tuple[str, str]]
) -> None:
    given = dict(rest.split("=", 1) for name, rest in steps if name == "ARG")
    pins = dict(
        line.split("==")
        for line in (repository / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    )
    spark, delta = pins["pyspark"], pins["delta-spark"]
    assert given["SPARK"].startswith(f"{spark}-scala2.13-java17-")
    delta_jar = f"io.delta:delta-spark_{spark.rpartition('.')[0]}_2.13:{delta}"
    assert given["PACKAGES"].split(",")[0] == delta_jar
    python = re.match(r"3\.\d+", given["PYTHON"])
    setup = (repository / "setup.py").read_text(encoding="utf-8")
    assert python is not None and f'python_requires=">={python[0]},' in setup
    # What kubernetes.conf tells Spark to start is where the image has it.
    workdir = next(rest for name, rest in steps if name == "WORKDIR")
    conf = (repository / "conf" / "spark" / "kubernetes.conf").read_text(encoding="utf-8")
    for found in re.findall(r"(?:local://)?(/opt/\w+/)(jobs|conf)/", conf):
        assert found[0] == f"{workdir}/" and ([found[1]], found[1]) in list(copied(steps))
    environment = " ".join(rest for name, rest in steps if name == "ENV")
    for key in ("spark.pyspark.python", "spark.pyspark.driver.python"):
        interpreter = re.search(rf"^{re.escape(key)} +(\S+)$", conf, re.MULTILINE)
        assert interpreter is not None and f"PYTHON={interpreter[1]}" in environment
        assert any(f"venv {Path(interpreter[1]).parents[1]}" in rest for _, rest in steps)


def test_its_user_may_write_where_the_driver_does(repository: Path, steps: list[tuple[str, str]]) -> None:
    config = load_config(repository / "conf" / "cluster.yml", [])
    places = {}
    for key in DRIVERS:
        value: object = config
        for name in key.split("."):
            value = getattr(value, name)
        places[key] = str(value)
    user = next(rest for name, rest in steps if name == "USER")
    given = re.search(rf"chown -R {user}:0 ([\w ]+)$", next(rest for _, rest in steps if "chown" in rest))
    assert given is not None
    assert {Path(place).parts[0] for place in places.values()} <= set(given[1].split()), places
    page = (repository / "docs" / "operations.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in DRIVERS)
