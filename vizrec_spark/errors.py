"""The one error tree. Each message says what was expected, what came and what to do."""

from __future__ import annotations


class VizrecError(Exception):
    """Base of every error that this package raises on purpose.

    The command line prints the message of a ``VizrecError`` without a traceback and exits with `exit_code`. `done` is
    what a stage that came to its end did before it raised this (a `stage.StageResult`, see `stage.ended`).
    """

    exit_code = 1
    done: object = None


class ConfigError(VizrecError):
    """A configuration that cannot be used: unknown key, wrong type, impossible value, unreadable file."""

    exit_code = 2


class InputError(VizrecError):
    """A landing file, folder or column that the configuration names is missing or cannot be read."""

    exit_code = 3


class TableError(VizrecError):
    """A table is missing, was written by a newer version, or breaks its contract."""

    exit_code = 4


class WriteConflict(TableError):
    """Another run has committed to the table at the same time, and that commit stands."""


class LeftOut(TableError):
    """Part of a stage's tables could not be done; the others were, and `done` has the account of them."""


class SessionError(VizrecError):
    """The Spark session cannot do what the pipeline needs (Delta Lake missing, Java missing)."""

    exit_code = 5


class EncoderError(VizrecError):
    """An encoder cannot be built: unknown model, unknown layer, weights that do not fit."""

    exit_code = 6


class WeightsUnavailable(EncoderError):
    """Pretrained weights have to be downloaded and their host cannot be reached (EX_UNAVAILABLE of sysexits.h)."""

    exit_code = 69


class WeightsNotInstalled(WeightsUnavailable):
    """Pretrained weights come with a package that is not installed, so trying again will not help."""

    exit_code = EncoderError.exit_code


class RecallError(VizrecError):
    """Look-alikes miss the recall that was asked for, so they are not published."""

    exit_code = 7


class DiskSpaceError(VizrecError):
    """A folder that the configuration names, or the system's temporary one, has too little room for what goes there."""

    exit_code = 9


class StorageError(VizrecError):
    """A file or folder that cannot be read or written (EX_IOERR of sysexits.h)."""

    exit_code = 74


class ImageRefused(VizrecError):
    """A picture that is not accepted.

    Attributes: ``reason`` is the quarantine reason code, ``message`` the sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[ImageRefused], tuple[str, str]]:
        return type(self), (self.reason, self.message)


class EvaluationError(VizrecError):
    """An evaluation that could not be believed: nothing to measure on, or models that cannot be compared."""

    exit_code = 8


class TooFewUsers(EvaluationError):
    """A split leaves fewer users with something to find than the evaluation needs."""


class LeakFound(EvaluationError):
    """A model has seen what it is tested on."""


class CandidateHeld(EvaluationError):
    """The gate holds a candidate model back; not a failure of the run."""

    exit_code = 10


class LabelError(InputError):
    """Labels that nothing can be learned from, or judged on: too few examples, a label missing from a part, or other
    labels than before."""
