"""Loops that numpy has no word for, compiled by numba once a machine."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as machine code that runs without the interpreter's lock, so that threads can share the cores.

    The code is kept beside the module, or in the user's cache folder (`NUMBA_CACHE_DIR` names another), and
    compiled again in each process where neither can be written.
    """
    return _made(function)


def compiled_sums(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `compiled`, where sums may be taken in an order that fills vector registers: the same one in every call."""
    return _made(function, fastmath={"reassoc", "contract"})


def compiled_maxima(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `compiled`, for numbers among which there is no NaN, so that maxima fill vector registers."""
    return _made(function, fastmath={"nnan", "nsz"})


def _made(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    try:
        made: Any = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(nogil=True, **options)(function)
    kept = made._cache
    stamp = (kept._impl.locator.get_source_stamp(), _sources())
    kept._cache_file = KeptCode(kept.cache_path, kept._impl.filename_base, stamp)
    return made


class KeptCode(IndexDataCacheFile):
    """The compiled code of one function, an entry a signature, which several processes may keep at the same time.

    numba numbers the files of code and writes the index first. So two processes that compile a function for different
    signatures may take the same number, and one that reads in between finds what an older source left under it: code
    for arguments of other types, on which every call then fails. Here each file has a name of its own and is there
    before the index names it: what a race may lose is an entry, and its code is then compiled once more.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keeps `data` for `key`, and lets go of what the index does not name."""
        name = self._data_name_pattern.replace("{number:d}", uuid.uuid4().hex[:16])
        self._save_data(name, data)
        named = {**self._load_index(), key: name}
        self._save_index(named)
        first, last = self._data_name_pattern.split("{number:d}")
        for file in Path(self._cache_path).iterdir():
            if file.name.startswith(first) and file.name.endswith(last) and file.name not in named.values():
                file.unlink(missing_ok=True)


@cache
def _sources() -> str:
    """A hash of all modules with compiled functions: these call each other across modules, and numba compares the age
    of a function's own module alone."""
    found = hashlib.sha256()
    for file in sorted(Path(__file__).resolve().parents[1].rglob("*.py")):
        text = file.read_bytes()
        if b"kernels.compiled import" in text:
            found.update(text)
    return found.hexdigest()
