"""Rules of the code that no linter knows: docs/decisions says who uses the tables, and here it is looked up."""

from __future__ import annotations

import ast
from pathlib import Path


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
