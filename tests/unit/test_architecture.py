"""Rules of the code that no linter knows: docs/decisions says who uses the tables, and here it is looked up."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vizrec_spark.app.stages import BESIDE, PIPELINE

STAGES = (*PIPELINE, *BESIDE)


def uses_tables(file: Path) -> bool:
    """Whether the module imports the store of tables, or the context that holds one."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
    return not imported.isdisjoint({"TableStore", "StageContext"})


def test_the_decision_names_every_part_of_a_stage_that_uses_tables(repository: Path) -> None:
    package = repository / "vizrec_spark"
    parts = {
        ".".join(file.relative_to(package).with_suffix("").parts)
        for file in package.glob("*/**/*.py")
        if file.name != "stage.py" and uses_tables(file)
    }
    inside = {part for part in parts if part.split(".")[0] not in ("tables", "app")}
    decision = (repository / "docs" / "decisions" / "0002-composition-in-the-package.md").read_text("utf-8")
    assert len(inside) > 3
    assert {part for part in inside if f"`{part}`" not in decision} == set()


def _function(run: Callable[..., object]) -> Callable[..., object]:
    """What runs, where the app has handed it more than the context."""
    return run.func if isinstance(run, partial) else run


def _results(file: Path) -> list[ast.Call]:
    calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "StageResult"]


def _has_figures(call: ast.Call) -> bool:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "metrics"]
    given = [*call.args[2:3], *named]
    return bool(given) and not _is_nothing(given[0])


def _is_nothing(value: ast.expr) -> bool:
    """Whether `value` is ``{}``, ``dict()``, None or another constant."""
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.Call):
        return (
            isinstance(value.func, ast.Name) and value.func.id == "dict" and not value.keywords + value.args
        )
    return isinstance(value, ast.Constant)


def test_figures_that_are_none_are_known() -> None:
    for text in ("{}", "dict()", "None", "", "metrics={}"):
        assert not _has_figures(ast.parse(f"StageResult(w, n, {text})").body[0].value), text  # type: ignore[attr-defined]
    for text in ("{'a': 1.0}", "metrics=found", "_figures()", "dict(a=1.0)", "{**found}"):
        assert _has_figures(ast.parse(f"StageResult(w, n, {text})").body[0].value), text  # type: ignore[attr-defined]


def test_whatever_a_stage_comes_to_it_has_figures_for_its_record(repository: Path) -> None:
    """Also where nothing had to be done, and where the gate holds a candidate. That each figure is told is looked at
    where the stages run."""
    files = sorted((repository / "vizrec_spark").glob("**/*.py"))
    found = [(file, call) for file in files for call in _results(file)]
    modules = {
        repository.joinpath(*_function(stage.run).__module__.split(".")).with_suffix(".py")
        for stage in STAGES
    }
    assert modules <= {file for file, _ in found}
    without = [f"{file.name}:{call.lineno}" for file, call in found if not _has_figures(call)]
    assert without == []
