"""The tables over HTTP, without Spark: Delta read by `deltalake`, held in memory as arrays, answered as JSON."""

from __future__ import annotations
