"""Import Keras on TensorFlow without the notes that TensorFlow writes to stderr."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NOISE = (b"absl::InitializeLog()", b"oneDNN custom operations are on")


def import_keras() -> Any:
    """The module `keras`, on the TensorFlow backend. The first call in a process takes seconds."""
    # Both are read once, at import. A backend set in the user's keras.json would make other model files.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _without_noise():
        import keras

    return keras


@contextmanager
def _without_noise() -> Iterator[None]:
    """Holds back what is written to stderr meanwhile, by C++ too, and then writes it all but the known notes."""
    if "keras" in sys.modules:
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held:
                if not any(note in line for note in _NOISE):
                    os.write(2, line)
