"""Runs in Airflow's environment: reads a log on a file system that keeps listings, as those of object stores do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "airflow_dags"))

from vizrec_dags import delta_log


class Keeping(MemoryFileSystem):
    """`ls` as s3fs, gcsfs and adlfs have it: from `dircache` until somebody empties it."""

    def ls(self, path: str, detail: bool = True, refresh: bool = False, **kwargs: Any) -> list[Any]:
        """The listing of the first time."""
        path = self._strip_protocol(path)
        if refresh or path not in self.dircache:
            self.dircache[path] = super().ls(path, detail=True)
        found = self.dircache[path]
        return found if detail else [entry["name"] for entry in found]

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forgets all listings."""
        self.dircache.clear()


def main() -> None:
    fsspec.register_implementation("memory", Keeping, clobber=True)
    runs = UPath("memory:///tables/runs")
    seen = []
    for version in range(2):
        Keeping().pipe(f"/tables/runs/_delta_log/{version:020d}.json", b"{}")
        seen.append(str(delta_log.versions(runs)))
    print(*seen)


if __name__ == "__main__":
    main()
