"""Measurements against named peers: python -m benchmarks.<name>."""
