"""What came in, what was accepted and what was refused, source by source; and when that is too bad to publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import InputError, TableError
from vizrec_spark.ingest.judge import line_breaks

# Pictures that nothing names are no fault of the catalogue: a folder may serve other shops too.
_HARMLESS = {"unknown_item"}


@dataclass(frozen=True)
class Account:
    """A source's records: `total` came in, of which `refused` were refused (reason code: records).

    `swallowed` lines lie inside refused records that span several, and would have been records of their own.
    """

    source: str
    total: int
    refused: Mapping[str, int]
    swallowed: int = 0

    @property
    def accepted(self) -> int:
        """Records that were not refused."""
        return self.total - sum(self.refused.values())

    @property
    def refused_share(self) -> float:
        """0 to 1, swallowed lines included; pictures that no record names are left out."""
        harmless = sum(self.refused.get(code, 0) for code in _HARMLESS) if self.source == "images" else 0
        total = self.total - harmless + self.swallowed
        return (total - self.accepted) / total if total else 0.0

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self.refused.items()))
        return (
            f"{self.source}: {self.total:,} in = {self.accepted:,} accepted + "
            f"{self.total - self.accepted:,} quarantined"
            + (f" ({reasons})" if reasons else "")
            + (
                f"; {self.swallowed:,} more lines lie behind a quote that is never closed"
                if self.swallowed
                else ""
            )
        )


def record_account(source: str, judged: DataFrame) -> Account:
    """Runs a job: the account of judged records (`_record`, `reason`)."""
    found = (
        judged.groupBy("reason")
        .agg(F.count(F.lit(1)).alias("n"), F.sum(line_breaks()).alias("breaks"))
        .collect()
    )
    refused = {row.reason: row.n for row in found if row.reason is not None}
    swallowed = sum(row.breaks or 0 for row in found if row.reason == "malformed_record")
    return Account(source, sum(row.n for row in found), refused, swallowed)


def image_account(matched: DataFrame, checked: DataFrame) -> Account:
    """Runs two jobs: the account of pictures, some of which were refused by name and some when they were decoded."""
    by_name, by_content = (
        {row.reason: row["count"] for row in frame.groupBy("reason").count().collect()}
        for frame in (matched, checked)
    )
    refused = Counter({reason: n for reason, n in by_name.items() if reason is not None})
    refused.update({reason: n for reason, n in by_content.items() if reason is not None})
    return Account("images", sum(by_name.values()), refused)


def refuse_unusable(accounts: Sequence[Account], vanished: Sequence[str], max_refused_share: float) -> None:
    """Stops before anything is published that would empty good tables.

    `vanished` are sources without a record whose tables hold rows. A share of 1 allows everything.

    Raises: InputError naming the sources, the most frequent reason and what to do.
    """
    if max_refused_share >= 1.0:
        return
    faults = [f"{source}: no record came in, but its table holds rows" for source in vanished]
    for one in accounts:
        if one.refused_share > max_refused_share:
            worst = max(one.refused, key=lambda code: one.refused[code])
            faults.append(f"{one} is more than the allowed {max_refused_share:.0%}, mostly {worst}")
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise InputError(
            f"The input cannot be right, so nothing of it was published:\n{listed}\n"
            "Table quarantine says for each refused record what is wrong with it. Mend the input or the configuration, "
            "or set ingest.max_refused_share (1: publish whatever comes)."
        )


def check_written(accounts: Mapping[str, Account], accepted: Mapping[str, int], quarantined: int) -> None:
    """Compares the accounts with what stands in the tables now.

    Raises: TableError when they differ, which no input should be able to bring about.
    """
    refused = sum(one.total - one.accepted for one in accounts.values())
    wrong = [one for name, one in accounts.items() if name in accepted and one.accepted != accepted[name]]
    if wrong or refused != quarantined:
        told = "; ".join(f"{one}, but {accepted[one.source]:,} were written" for one in wrong)
        raise TableError(
            f"{told or f'{refused:,} records were refused, but quarantine has {quarantined:,}'}. "
            "The input has changed while it was read, or another run wrote these tables at the same time: run stage "
            "`ingest` again."
        )
