"""Entity tags (RFC 9110, 8.8.3): what a client holds already is not sent again."""

from __future__ import annotations

from collections.abc import Hashable


def list_tag(*shown: Hashable) -> str:
    """The tag of a list of which `shown` is all that an answer tells. The same within this process alone: with another
    one a client asks once more than it had to."""
    return f'"{hash(shown) & (1 << 64) - 1:016x}"'


def holds(if_none_match: str | None, tag: str) -> bool:
    """Whether a request says that its client has what `tag` names (itself without a comma), by the weak comparison: a
    proxy that compresses makes W/"a" of "a"."""
    named = [] if if_none_match is None else [one.strip() for one in if_none_match.split(",")]
    return "*" in named or any(one.removeprefix("W/") == tag for one in named)
