"""Which way to find neighbours."""

from __future__ import annotations

from typing import Literal

Method = Literal["exact", "lsh"]


def choose_method(method: Literal["auto", "exact", "lsh"], n_items: int, exact_below: int) -> Method:
    """`method` itself, or for ``auto``: ``exact`` below `exact_below` items and ``lsh`` from there on.

    Raises: ValueError for another method.
    """
    if method == "auto":
        return "exact" if n_items < exact_below else "lsh"
    if method not in ("exact", "lsh"):
        raise ValueError(f"expected auto, exact or lsh, got {method!r}")
    return method
