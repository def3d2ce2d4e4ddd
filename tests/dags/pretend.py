"""Stands in for spark-submit: leaves the commits that a job would leave, and does no work. No Spark, no package.

A file `refused` beside the program that calls this holds the share of interactions that `ingest` tells as refused.
Where there is a file `partial`, a job records that it has left something out, and ends with exit code 4. Where there is
a file `code`, it leaves nothing, and ends with that exit code.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

WRITES = {"ingest": ["images"], "embed": ["embeddings"], "recommend": ["recommendations"]}


def main(beside: Path, words: list[str]) -> None:
    """Writes down the job and its run, then its tables' commits and its record."""
    [script] = [word for word in words if word.endswith(".py")]
    job, run_id = Path(script).stem, words[words.index("--run-id") + 1]
    pairs = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--set")
    with (beside / "started").open("a", encoding="utf-8") as started:
        started.write(f"{job} {run_id}\n")
    if (code := beside / "code").is_file():
        sys.exit(int(code.read_text(encoding="utf-8")))
    root, refused = Path(pairs["tables.root"]), beside / "refused"
    metrics = {"images_version": 0.0}
    if job == "ingest" and refused.is_file():
        metrics["interactions_refused_share"] = float(refused.read_text(encoding="utf-8"))
    left_out = (beside / "partial").exists()
    record(root, job, run_id, metrics, **({"partial": True} if left_out else {}))
    if left_out:
        sys.exit(4)


def record(root: Path, job: str, run_id: str, metrics: dict[str, float], **more: object) -> None:
    """The commits of a job that found its tables as they should be: version 0 of each, and its row in `runs`."""
    tables = {name: {"version": 0, "rows": 1, "changed": 0} for name in WRITES.get(job, [])}
    for name in tables:
        if not (root / name).is_dir():
            _commit(root / name, {})
    told = {"run_id": run_id, "stage": job, "outcome": "done", "seconds": 1.0, "encoder": "lite"}
    _commit(root / "runs", {**told, "tables": tables, "metrics": metrics, "notes": [], **more})


def _commit(table: Path, told: dict[str, Any]) -> None:
    log = table / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    info = {"timestamp": int(time.time() * 1000), "operation": "WRITE", "userMetadata": json.dumps(told)}
    file = log / f"{len(list(log.iterdir())):020d}.json"
    file.write_text(json.dumps({"commitInfo": info}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
