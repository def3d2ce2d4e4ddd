"""What a command tells on its way: for people, or one JSON object a line, and never a secret."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.logging import RichHandler

FORMATS = ("text", "json")

_HIDDEN = "*****"
_NAMES = (
    r"secret|passw(?:or)?d|passphrase|pwd|token|credential|signature|(?:api|access|account|private|encryption)[._-]?key"
    r"|encryption[._-](?:column|footer)[._-]keys?"
    r"|(?<![a-z])(?:sas|sig)(?![a-z])"
)
_SECRETS = (
    # s3a://key:secret@bucket, where the secret may have a slash
    re.compile(r"""(?P<name>\bs3[an]?://)[^\s:/@"']+:[^\s"']+(?=@)""", re.IGNORECASE),
    # scheme://user:password@host, where the password may have an @, and scheme://token@host; what stands there in
    # abfss://container@account is no secret
    re.compile(
        r"""(?P<name>\b(?!abfss?:|wasbs?:)[a-z][a-z0-9+.\-]{0,30}://)[^\s/"']+(?=@)""",
        re.IGNORECASE,
    ),
    re.compile(r"""(?P<name>\b(?:abfs|wasb)s?://)[^\s/:@"']*:[^\s/"']+(?=@)""", re.IGNORECASE),
    # Authorization: Bearer value
    re.compile(
        r"""(?P<name>\bauthorization["']?\s*[=:]\s*["']?(?:(?:basic|bearer|digest|negotiate)\s+)?)[^\s,;"']+""",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<name>\bbearer\s+)[\w.~+/\-]{8,}=*", re.IGNORECASE),
    # secret.key=value, "password": "value", token: value; in the name of a setting, an option or a query's parameter
    re.compile(
        rf"""(?P<name>(?:{_NAMES})[\w.\-]{{0,255}}["']?\s*[=:]\s*)(?:"[^"]*"|'[^']*'|[^\s,;&)}}\]]+)""",
        re.IGNORECASE,
    ),
)
_about: dict[str, str] = {}


def redacted(text: str) -> str:
    """`text` with asterisks for what stands behind the name of a secret, and for the user in an address."""
    for secret in _SECRETS:
        text = secret.sub(lambda found: f"{found['name']}{_HIDDEN}", text)
    return text


@contextmanager
def about(**said: str) -> Iterator[None]:
    """While the body runs, each JSON line also says this, whichever thread it comes from: `run_id`, `stage`.

    After an exception it stays, for the line that tells of it, until `forget`.
    """
    before = dict(_about)
    _about.update(said)
    yield
    forget()
    _about.update(before)


def forget() -> None:
    """From here on lines are about nothing."""
    _about.clear()


class Redacting(logging.Formatter):
    """A line of text without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return redacted(super().format(record))


class JsonLines(logging.Formatter):
    """One object a line: `at` (ISO 8601, UTC), `level`, `message`; of a run `run_id` and `stage`; of an error
    `exit_code`, and `traceback` where it was not expected."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **_about,
            "message": redacted(record.getMessage()),
        }
        if hasattr(record, "exit_code"):
            said["exit_code"] = record.exit_code
        if record.exc_info:
            said["traceback"] = redacted(self.formatException(record.exc_info))
        return json.dumps(said, ensure_ascii=False)


def handler(console: Console, as_json: bool) -> logging.Handler:
    """On a terminal in colour and wrapped to its width; in a file or a pipe, and as JSON, one line a message."""
    if console.is_terminal and not as_json:
        shown = RichHandler(console=console, show_path=False, markup=False, log_time_format="[%X]")
        shown.setFormatter(Redacting("%(message)s"))
        return shown
    plain = logging.StreamHandler(console.file)
    plain.setFormatter(
        JsonLines() if as_json else Redacting("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    return plain
