"""The tables' contracts as a Markdown page for people (docs/tables.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vizrec_spark.tables.contract import Table
from vizrec_spark.tables.reasons import Reason

_HEAD = """\
# Tables

<!-- Written by `make docs` from vizrec_spark/tables; edit the contracts there, not this page. -->

All tables are Delta tables below `tables.root`, or in the schema `tables.catalog`. Each is written by one stage, but
for `quarantine`, in which stages `ingest` and `embed` each replace their own rows, and `runs`, to which every stage
adds. Two exceptions: in a shop of drawn vectors (`vizrec demo --vectors`) the stage that draws them writes `images`
too, and `vizrec holdout` copies tables into its training window, a place of its own. Columns are never null unless
the table says so, and Delta refuses a row that breaks a constraint. The user metadata of each commit is JSON with
`run_id`, `stage` and `config_hash`: `DESCRIBE HISTORY` shows who wrote what.
"""


def tables_page(tables: Sequence[Table], reasons: Iterable[Reason]) -> str:
    """The whole page: an overview, a section a table, and the reason codes of the quarantine."""
    overview = _grid(
        ("table", "written by", "holds"),
        [(f"[{t.name}](#{t.name})", f"`{t.writer}`", t.description) for t in tables],
    )
    codes = _grid(
        ("reason", "sources", "meaning", "what to do"),
        [(f"`{r.code}`", ", ".join(r.sources), r.meaning, r.remedy) for r in reasons],
    )
    closing = f"## Reason codes of the quarantine\n\n{codes}"
    return "\n".join([_HEAD, overview, *map(table_section, tables), closing])


def table_section(table: Table) -> str:
    """One table: what it holds, writer, key, partitioning, constraints and columns."""
    facts = [
        f"- Written by: stage `{table.writer}`",
        f"- Key: {_names(table.key) or 'none'}",
        f"- Partitioned by: {_names(table.partition_by) or 'nothing'}",
        *(f"- Constraint `{name}`: `{predicate}`" for name, predicate in table.checks.items()),
        f"- Contract version: {table.version}",
    ]
    columns = _grid(
        ("column", "type", "null", "meaning"),
        [
            (
                f"`{field.name}`",
                f"`{field.dataType.simpleString()}`",
                "yes" if field.nullable else "",
                field.metadata["comment"],
            )
            for field in table.schema.fields
        ],
    )
    return f"## {table.name}\n\n{table.description}\n\n" + "\n".join(facts) + f"\n\n{columns}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)
