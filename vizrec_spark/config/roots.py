"""Paths of tables for programs that read or write them without Spark, by `deltalake`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from vizrec_spark.errors import ConfigError

_SCHEMES = ("", "file", "s3", "s3a", "gs", "abfs", "abfss", "az", "adl")


def plain_path(place: str, named: str) -> str:
    """The path or URI that Spark knows as `place`, as `deltalake` takes it, without a slash at its end.

    Raises: ConfigError, beginning with `named`, for a store or a name that `deltalake` does not know.
    """
    scheme = urlsplit(place).scheme.lower()
    if scheme not in _SCHEMES:
        known = ", ".join(f"{s}://" for s in _SCHEMES if s)
        raise ConfigError(
            f"{named} = {place}: without Spark local paths and {known} can be used, not {scheme}://."
        )
    if strange := [sign for sign in "%[]|^\\" if sign in place]:
        raise ConfigError(
            f"{named} = {place}: without Spark a folder with {strange[0]} in its name cannot be used, which "
            "`deltalake` takes for something else."
        )
    # Hadoop writes file:/srv and file:///srv alike, and escapes nothing.
    return re.sub(r"^file:(//)?(?=/)", "", place, flags=re.IGNORECASE).rstrip("/")
