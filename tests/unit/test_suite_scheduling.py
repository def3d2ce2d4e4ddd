"""What the suite's own scheduler does with the tests of a process that has died."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from tests.conftest import ByFile


class Node:
    """A process of the suite, as the scheduler sees it."""

    def __init__(self) -> None:
        self.shutting_down = False
        self.sent: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.sent += indices

    def shutdown(self) -> None:
        self.shutting_down = True


@pytest.mark.parametrize(
    ("done", "died_in", "left"),
    [
        ({"a": [True, True], "b": [True, False, False]}, "b::1", {"b": ["b::2"]}),
        ({"a": [True, True], "b": [True, False], "c": [False]}, "b::1", {"c": ["c::0"]}),
        ({"a": [True, True]}, None, {}),
    ],
    ids=["in the middle", "at the end of a file", "with nothing to do"],
)
def test_what_was_not_begun_goes_to_another(
    done: dict[str, list[bool]], died_in: str | None, left: dict[str, list[str]]
) -> None:
    scheduler: Any = object.__new__(ByFile)
    dead, other = Node(), Node()
    work = {file: {f"{file}::{n}": one for n, one in enumerate(told)} for file, told in done.items()}
    scheduler.assigned_work = {dead: work, other: {}}
    scheduler.workqueue = OrderedDict()
    names = [name for tests in work.values() for name in tests]
    scheduler.registered_collections = {other: names}
    scheduler.log = lambda *_: None
    assert scheduler.remove_node(dead) == died_in
    assert [names[at] for at in other.sent] == [name for tests in left.values() for name in tests]
    assert set(scheduler.assigned_work) == {other}
