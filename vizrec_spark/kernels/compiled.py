"""Loops that numpy has no word for, compiled by numba once a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as machine code that runs without the interpreter's lock, so that threads can share the cores.

    The code is kept beside the module, or in the user's cache folder (`NUMBA_CACHE_DIR` names another), and
    compiled again in each process where neither can be written.
    """
    try:
        made: Callable[..., Any] = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder to keep it in
        made = numba.njit(nogil=True)(function)
    return made
