"""The benchmark of the service: what it calls a miss, and that it then fails."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import serve

GOOD = {**dict.fromkeys(serve.BARS, 0.0), **serve.LEAST}


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"similar_p99_ms": 25.0}, []),
        ({"similar_p99_ms": 25.1}, ["similar_p99_ms"]),
        ({"session_p99_ms": math.nan}, ["session_p99_ms"]),
        ({"errors": 1}, ["errors"]),
        ({"requests_per_s": 299.9}, ["requests_per_s"]),
        ({"requests_per_s": math.nan, "errors": 2}, ["errors", "requests_per_s"]),
        ({"overload_offered_per_s": 300.0}, ["overload_offered_per_s"]),
        ({"live_versions": 0}, ["live_versions"]),
    ],
)
def test_what_misses_a_bar_fails_the_benchmark(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, float],
    missed: list[str],
) -> None:
    result: dict[str, Any] = {**GOOD, **change}
    assert serve.missed(result) == missed
    monkeypatch.setattr(serve, "_run", lambda args, scratch: {**result, "bars_missed": missed})
    assert serve.main(["--folder", str(tmp_path)]) == (1 if missed else 0)
    told = capsys.readouterr().out
    assert "RESULT {" in told and all(name in told for name in missed)


def test_a_phase_without_an_answer_has_no_percentiles() -> None:
    assert math.isnan(serve._percentiles("user", [])["user_p99_ms"])
