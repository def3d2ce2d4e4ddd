"""Import Keras on TensorFlow without the notes that TensorFlow writes to stderr."""

from __future__ import annotations

import os
from typing import Any


def import_keras() -> Any:
    """The module `keras`, on the TensorFlow backend. The first call in a process takes seconds."""
    # Both are read once, at import. A backend set in the user's keras.json would make other model files.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    return keras
