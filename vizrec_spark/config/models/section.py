"""What every section of the configuration is: frozen, strict about types, closed to unknown keys."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

# Secret keys of S3 may have a slash; elsewhere what stands behind one is a path, which may have an @. A user alone is a
# token in an address of the web, and in abfss://container@account no secret.
_PASSWORD = re.compile(
    r"(?:s3[an]?://[^\s:/@]+:[^\s@]+|(?:https?|wss?|kafka)://[^\s/?#@]+|[a-z][a-z0-9+.\-]*://[^\s/:@]*:[^\s/@]*)@",
    re.IGNORECASE,
)
_NAME_OF_A_SECRET = re.compile(
    r"passw(?:or)?d|passphrase|pwd|secret|jaas|token|credential|signature|authorization"
    r"|(?:^|[._-])(?:sas|sig)(?:$|[._-])|(?:api|access|account|private|encryption)[._-]?key|\.key$",
    re.IGNORECASE,
)


def without_secrets(options: Mapping[str, Any], instead: str) -> None:
    """For options that stand in tables or files as they are: names of secrets are refused; `instead` says what to do.

    Raises: ValueError with the names, and no value.
    """
    named = sorted(name for name in options if _NAME_OF_A_SECRET.search(name))
    if named:
        raise ValueError(f"{', '.join(named)} would stand in files and tables: {instead}")


class Section(BaseModel):
    """Base of all sections: frozen, strict about types, closed to unknown keys, without passwords in addresses."""

    stays_in_memory: ClassVar[bool] = False
    """Whether nothing of the section is written to tables or told, so that it may hold a password."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of the section's canonical JSON."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    # No validator, which would put a name of its own into the place of each fault in a section.
    def model_post_init(self, _: object) -> None:
        """Raises: ValueError for an address with a password, or with a token in its place."""
        named = [] if self.stays_in_memory else sorted(f"`{name}`" for name in _with_passwords(self))
        if named:
            raise ValueError(
                f"{', '.join(named)} has a password in an address, or a token, which tables, logs and lists of "
                "processes would show: leave it out, and give it to Spark's own properties files, to Hadoop's "
                "credential providers or to the environment"
            )


def _with_passwords(section: Section) -> Iterator[str]:
    for name in type(section).model_fields:
        if any(_PASSWORD.search(text) for text in _texts(getattr(section, name))):
            yield name


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value; a section in it looks after its own."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, tuple):
        for one in value:
            yield from _texts(one)
