"""Without a browser its tests are skipped, but in CI they fail."""

from __future__ import annotations

import importlib

import devtools
import pytest


@pytest.mark.parametrize("name", ["test_report_browser", "test_serve_browser"])
@pytest.mark.parametrize("ci", ["true", "false"])
def test_a_missing_browser_is_a_reason_to_skip_but_not_in_ci(
    monkeypatch: pytest.MonkeyPatch, name: str, ci: str
) -> None:
    module = importlib.import_module(name)
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(devtools, "find_chromium", lambda: None)
    try:
        mark = importlib.reload(module).pytestmark
    finally:
        monkeypatch.undo()
        importlib.reload(module)
    assert mark.args == (ci == "false",)
