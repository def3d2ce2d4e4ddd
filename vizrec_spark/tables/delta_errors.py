"""What Delta and the analyser refuse, in words."""

from __future__ import annotations

from delta import exceptions
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException

# In Python these have no base class of their own.
CONFLICTS = (
    exceptions.ConcurrentAppendException,
    exceptions.ConcurrentDeleteDeleteException,
    exceptions.ConcurrentDeleteReadException,
    exceptions.ConcurrentTransactionException,
    exceptions.ConcurrentWriteException,
    exceptions.MetadataChangedException,
    exceptions.ProtocolChangedException,
)
"""Another program has written to the table at the same time, and was first."""


def delta_fault(error: AnalysisException | Py4JJavaError) -> str | None:
    """What Delta or the analyser said, in one line; None for a failure that is not about the table."""
    if isinstance(error, AnalysisException):
        text = str(error)
    else:
        cause = error.java_exception
        while cause is not None and not cause.getClass().getName().startswith("org.apache.spark.sql.delta."):
            cause = cause.getCause()
        if cause is None:
            return None
        text = cause.getMessage()
    return " ".join(text.split())[:600]


def root_of(error: Py4JJavaError) -> str:
    """What lies behind an error of the JVM, in one line."""
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return " ".join(str(cause.toString()).split())[:300]
