"""Pictures to vectors: encoders as self-contained files, and the job that applies one to what is new."""

from __future__ import annotations
