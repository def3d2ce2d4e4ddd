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
    return _made(function)


def compiled_sums(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `compiled`, where sums may be taken in an order that fills vector registers: the same one in every call."""
    return _made(function, fastmath={"reassoc", "contract"})


def compiled_maxima(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `compiled`, for numbers among which there is no NaN, so that maxima fill vector registers."""
    return _made(function, fastmath={"nnan", "nsz"})


def _made(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    try:
        made: Callable[..., Any] = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        made = numba.njit(nogil=True, **options)(function)
    return made
