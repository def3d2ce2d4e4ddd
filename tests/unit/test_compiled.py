"""Compiled code that several processes keep in one folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from vizrec_spark.kernels.compiled import KeptCode, _sources, compiled

MODULE = """
from vizrec_spark.kernels.compiled import compiled

@compiled
def first(values):
    return values[0]
"""

PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from numba.core.caching import IndexDataCacheFile
import kept

index, code = IndexDataCacheFile._save_index, IndexDataCacheFile._save_data

def reach(mark):
    Path(mark).touch()

def wait_for(mark):
    while not Path(mark).exists():
        time.sleep(0.01)

def index_first(self, named):
    wait_for("other has read")
    index(self, named)
    reach("index written")
    wait_for("other code written")

def index_second(self, named):
    reach("other has read")
    wait_for("index written")
    index(self, named)

def code_second(self, name, data):
    code(self, name, data)
    reach("other code written")

if sys.argv[2:] == ["first"]:
    IndexDataCacheFile._save_index = index_first
elif sys.argv[2:] == ["second"]:
    IndexDataCacheFile._save_index, IndexDataCacheFile._save_data = index_second, code_second
value = np.arange(3).astype(sys.argv[1]) + 258
print(kept.first(value), kept.first.stats.cache_hits[kept.first.signatures[0]])
"""


def test_two_processes_that_keep_code_at_once_never_find_each_others(tmp_path: Path) -> None:
    """For arguments of other types: numba by itself may give the one what the other has kept."""
    (tmp_path / "kept.py").write_text(MODULE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROCESS, *arguments]
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    # Both have read the index before either writes it, and the one that writes it first writes its code last.
    both = [start("int64", "first"), start("float32", "second")]
    assert [process.communicate(timeout=120)[0].split()[0] for process in both] == ["258", "258.0"]
    for _ in range(2):  # what the race has lost is kept by the second
        again = [start(kind).communicate(timeout=120)[0].split() for kind in ("int64", "float32")]
        assert [value for value, _ in again] == ["258", "258.0"]
    assert [hits for _, hits in again] == ["1", "1"]
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == 2


def test_code_of_another_source_is_not_taken(tmp_path: Path) -> None:
    files = [KeptCode(str(tmp_path), "f", stamp) for stamp in ("old", "old", "new")]
    files[0].save("key", "code")
    assert files[1].load("key") == "code" and files[2].load("key") is None
    files[2].save("key", "newer")
    assert files[2].load("key") == "newer" and files[0].load("key") is None
    assert len(list(tmp_path.glob("*.nbc"))) == 1


def test_what_is_compiled_is_kept_so() -> None:
    """numba has no public name for where a function's code is kept."""

    def twice(value):  # type: ignore[no-untyped-def]
        return 2 * value

    kept = compiled(twice)._cache._cache_file  # type: ignore[attr-defined]
    assert isinstance(kept, KeptCode) and kept._source_stamp[1] == _sources()
