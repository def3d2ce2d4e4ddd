"""What a job that runs for long holds on to, sampled while it runs: ids, memory, files; and the bars on them."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

_REMEMBERED = re.compile(rb"stream: batch \d+: (\d+) ids are remembered")
_FAILED, _LATER = b"upkeep failed", b"upkeep is left for later"
_USED = re.compile(r"(?:heap|generation|Gen)\s.*?\bused (\d+)K")
_QUARTER = 0.25


@dataclass(frozen=True)
class Sample:
    """At one moment: minutes since the timed part began, ids remembered, MiB that the job's JVMs and its Python
    processes have resident, MiB of the JVM's objects that are in use (at the end of each quarter, for that takes a
    collection of all garbage), MiB of a table's folder, and how often upkeep was put off, or failed, until then."""

    minute: float
    ids: int
    jvm: float
    python: float
    heap: float | None
    folder: float
    later: int
    failed: int

    @property
    def used(self) -> float | None:
        """MiB of objects in use and of the Python processes. What a JVM has resident says little: it lets garbage lie
        as long as there is room."""
        return None if self.heap is None else self.heap + self.python


class Samples:
    """Of the job `pid` that writes `log`, and of a table's `folder`, over so many `minutes`."""

    def __init__(self, pid: int, log: Path, folder: Path, minutes: float) -> None:
        self._pid, self._log, self._folder, self._minutes = pid, log, folder, minutes
        self._quarters = 0
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
        minute = (time.monotonic() - self._began) / 60
        heap = None
        if minute >= (self._quarters + 1) * _QUARTER * self._minutes:
            self._quarters += 1
            heap = sum(in_use(one) for one in jvms(self._pid))
        jvm, python = memory(self._pid)
        self.taken.append(
            Sample(
                minute,
                self._ids,
                jvm,
                python,
                heap,
                _size(self._folder),
                self._later,
                self._failed,
            )
        )

    def figures(self) -> dict[str, Any]:
        """What is judged, of all samples, and of what the log has said since the last."""
        self._listen()
        used = [one.used for one in self.taken if one.used is not None]
        return {
            # Never told of any is no proof that there are few.
            "state_rows_most": max((one.ids for one in self.taken), default=0) or None,
            "resident_mib_most": max((one.jvm + one.python for one in self.taken), default=None),
            "used_mib_first": used[0] if used else None,
            "used_mib_last": used[-1] if used else None,
            "memory_growth": used[-1] / used[0] if len(used) > 1 else None,
            "live_folder_mib_most": max((one.folder for one in self.taken), default=0.0),
            "upkeep_later": self._later,
            "upkeep_failed": self._failed,
        }

    def print(self) -> None:
        """A sample of each minute."""
        table = RichTable(title="Minute by minute", title_justify="left", title_style="bold")
        heads = ("minute", "ids", "JVM MiB", "in use", "Python MiB", "lists MiB", "upkeep later", "failed")
        for head in heads:
            table.add_column(head, justify="right")
        shown = {int(one.minute): one for one in self.taken} | {
            int(one.minute): one for one in self.taken if one.heap is not None
        }
        for one in shown.values():
            measured = (one.jvm, one.heap, one.python, one.folder)
            sizes = ("" if size is None else f"{size:,.0f}" for size in measured)
            table.add_row(f"{one.minute:.1f}", f"{one.ids:,}", *sizes, f"{one.later}", f"{one.failed}")
        Console(width=100).print(table)

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
    sums = [0.0, 0.0]
    for _, java, resident in _family(pid):
        sums[0 if java else 1] += resident
    return sums[0], sums[1]


def jvms(pid: int) -> list[int]:
    """The JVMs among the process and all below it."""
    return [one for one, java, _ in _family(pid) if java]


def in_use(jvm: int) -> float:
    """MiB of the objects that a JVM can still reach, after a collection of all garbage."""
    subprocess.run(["jcmd", str(jvm), "GC.run"], check=True, capture_output=True, timeout=60)
    told = subprocess.run(
        ["jcmd", str(jvm), "GC.heap_info"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    found = _USED.findall(told)
    if not found:
        raise RuntimeError(f"jcmd says nothing of the heap: {told}")
    return sum(map(int, found)) / 1024


def _family(pid: int) -> list[tuple[int, bool, float]]:
    """The process and all below it: number, whether it is a JVM, resident MiB."""
    found: dict[int, tuple[int, bool, float]] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        resident = float(fields.get("VmRSS", "0 kB").split()[0]) / 1024
        found[int(fields["Pid"])] = (int(fields["PPid"]), fields["Name"] == "java", resident)
    family, wanted = [], [pid]
    while wanted:
        one = wanted.pop()
        _, java, resident = found.get(one, (0, False, 0.0))
        family.append((one, java, resident))
        wanted += [child for child, (parent, *_) in found.items() if parent == one]
    return family


def _size(folder: Path) -> float:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except OSError:  # gone meanwhile
            continue
    return total / (1 << 20)
