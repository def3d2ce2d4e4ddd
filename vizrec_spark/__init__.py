"""Visual recommendations on Apache Spark: pictures, a catalogue and interactions in, Delta tables out."""

from __future__ import annotations

__version__ = "0.1.0"
