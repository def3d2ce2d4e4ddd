"""What a table promises: columns, key, partitioning and CHECK constraints, declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql.types import DataType, StructField, StructType

from vizrec_spark.errors import TableError


@dataclass(frozen=True)
class Table:
    """A table's contract.

    `writer` is the stage that alone writes it; `key` the columns that identify a row; `checks` Delta CHECK
    constraints by name; `version` grows when the columns change; `log_days` is how long Delta's log tells of a version,
    counted from its commit, which must be there for it to be read; `out_of_use_hours` for how long it tells of a file
    that was replaced, where that is less: a vacuum of the writer's own takes it before.
    """

    name: str
    writer: str
    description: str
    schema: StructType
    key: tuple[str, ...]
    checks: Mapping[str, str] = field(default_factory=dict)
    partition_by: tuple[str, ...] = ()
    version: int = 1
    log_days: int = 30
    out_of_use_hours: int | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return self.schema.names

    def conform(self, df: DataFrame) -> DataFrame:
        """`df` with exactly the contract's columns, in order.

        Raises: TableError naming the missing or wrongly typed columns. Nullability and CHECK constraints are
        left to Delta, which enforces them row by row when it writes.
        """
        found = {f.name: f.dataType for f in df.schema.fields}
        faults = [
            f"`{f.name}` is missing"
            if f.name not in found
            else f"`{f.name}` is {found[f.name].simpleString()}, expected {f.dataType.simpleString()}"
            for f in self.schema.fields
            if not _same_type(found.get(f.name), f.dataType)
        ]
        if faults:
            raise TableError(f"Table {self.name}: {'; '.join(faults)}.")
        return df.select(*self.columns)


def column(name: str, kind: DataType, meaning: str, *, nullable: bool = False) -> StructField:
    """A column with its meaning (and unit), which also becomes the column's comment in Delta."""
    return StructField(name, kind, nullable, {"comment": meaning})


def _same_type(found: DataType | None, expected: DataType) -> bool:
    """Equal but for nullability inside arrays, maps and structs."""
    return found is not None and found.simpleString() == expected.simpleString()
