"""What a job that runs for long holds on to, sampled while it runs: ids, memory, files; and the bars on them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

_REMEMBERED = re.compile(rb"stream: batch \d+: (\d+) ids are remembered")
_FAILED, _LATER = b"upkeep failed", b"upkeep is left for later"


@dataclass(frozen=True)
class Sample:
    """At one moment: minutes since the timed part began, ids remembered, MiB that the job's JVMs and its Python
    processes have resident, MiB of a table's folder, and how often upkeep was put off, or failed, until then."""

    minute: float
    ids: int
    jvm: float
    python: float
    folder: float
    later: int
    failed: int

    @property
    def memory(self) -> float:
        """MiB of all processes."""
        return self.jvm + self.python


class Samples:
    """Of the job `pid` that writes `log`, and of a table's `folder`."""

    def __init__(self, pid: int, log: Path, folder: Path) -> None:
        self._pid, self._log, self._folder = pid, log, folder
        self._began = time.monotonic()
        self._read = 0
        self._ids = self._later = self._failed = 0
        self.taken: list[Sample] = []

    def begin(self) -> None:
        """The timed part begins."""
        self._began = time.monotonic()

    def take(self) -> None:
        """Takes one."""
        self._listen()
        jvm, python = memory(self._pid)
        self.taken.append(
            Sample(
                (time.monotonic() - self._began) / 60,
                self._ids,
                jvm,
                python,
                _size(self._folder),
                self._later,
                self._failed,
            )
        )

    def figures(self) -> dict[str, Any]:
        """What is judged, of all samples, and of what the log has said since the last."""
        self._listen()
        # Of 20 minutes the last 5, and 5 to 10.
        last = [one.memory for one in self._between(0.75, 1.0)]
        before = [one.memory for one in self._between(0.25, 0.5)]
        return {
            # Never told of any is no proof that there are few.
            "state_rows_most": max((one.ids for one in self.taken), default=0) or None,
            "memory_mib_first": self.taken[0].memory if self.taken else None,
            "memory_mib_last": self.taken[-1].memory if self.taken else None,
            "memory_growth": fmean(last) / fmean(before) if last and before else None,
            "live_folder_mib_most": max((one.folder for one in self.taken), default=0.0),
            "upkeep_later": self._later,
            "upkeep_failed": self._failed,
        }

    def print(self) -> None:
        """The last sample of each minute."""
        table = RichTable(title="Minute by minute", title_justify="left", title_style="bold")
        heads = ("minute", "ids", "JVM MiB", "Python MiB", "lists MiB", "upkeep later", "upkeep failed")
        for head in heads:
            table.add_column(head, justify="right")
        for one in {int(one.minute): one for one in self.taken}.values():
            sizes = (f"{size:,.0f}" for size in (one.jvm, one.python, one.folder))
            table.add_row(f"{one.minute:.1f}", f"{one.ids:,}", *sizes, f"{one.later}", f"{one.failed}")
        Console(width=100).print(table)

    def _between(self, begin: float, end: float) -> list[Sample]:
        whole = self.taken[-1].minute if self.taken else 0.0
        return [one for one in self.taken if begin * whole < one.minute <= end * whole]

    def _listen(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            told = log.read()
        told = told[: told.rfind(b"\n") + 1]  # the rest is not written yet
        self._read += len(told)
        if remembered := _REMEMBERED.findall(told):
            self._ids = int(remembered[-1])
        self._later += told.count(_LATER)
        self._failed += told.count(_FAILED)


def memory(pid: int) -> tuple[float, float]:
    """Resident MiB of the process and all below it: those of JVMs, and the others."""
    found: dict[int, tuple[int, bool, float]] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        resident = float(fields.get("VmRSS", "0 kB").split()[0]) / 1024
        found[int(fields["Pid"])] = (int(fields["PPid"]), fields["Name"] == "java", resident)
    sums, wanted = [0.0, 0.0], [pid]
    while wanted:
        one = wanted.pop()
        _, java, resident = found.get(one, (0, False, 0.0))
        sums[0 if java else 1] += resident
        wanted += [child for child, (parent, *_) in found.items() if parent == one]
    return sums[0], sums[1]


def _size(folder: Path) -> float:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except OSError:  # gone meanwhile
            continue
    return total / (1 << 20)
