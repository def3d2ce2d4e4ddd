"""The sentences that say why."""

from __future__ import annotations

import pytest

from vizrec_spark.config.models import InteractionsConfig
from vizrec_spark.wording import VERBS, reason


@pytest.mark.parametrize(
    ("source", "people", "cause", "sentence"),
    [
        ("visual", 0, ("Red mug", "view"), "Looks like “Red mug”, which you viewed"),
        ("visual", 7, ("Red mug", "cart"), "Looks like “Red mug”, which you put in your cart"),
        ("als", 7, ("Red mug", "buy"), "Liked by people who share your taste for “Red mug”, which you bought"),
        ("visual", 7, ("茶碗 “Ω”", "wished"), "Looks like “茶碗 “Ω””, which you interacted with"),
        ("als", 7, None, "Liked by people whose taste is like yours"),
        ("als", 0, None, "Liked by people whose taste is like yours"),
        ("popularity", 1, None, "Popular: 1 person chose it"),
        ("popularity", 2, None, "Popular: 2 people chose it"),
        ("popularity", 12345, None, "Popular: 12,345 people chose it"),
        ("popularity", 0, None, "Nobody has chosen it yet"),
        ("cooccurrence", 3, ("Red mug", "buy"), "Chosen together with “Red mug”, which you bought"),
        ("attributes", 3, ("Red mug", "buy"), "Similar to “Red mug”, which you bought"),
        ("cooccurrence", 3, None, "Liked by people whose taste is like yours"),
        ("visual", 3, None, "In the style of what you chose"),
        ("attributes", 3, None, "Like what you chose"),
    ],
)  # fmt: skip
def test_sentence(source: str, people: int, cause: tuple[str, str] | None, sentence: str) -> None:
    assert reason(source, people, cause) == sentence


@pytest.mark.parametrize(("event", "verb"), VERBS.items())
def test_each_known_event_has_its_verb(event: str, verb: str) -> None:
    assert reason("visual", 1, ("A", event)) == f"Looks like “A”, which you {verb}"


def test_the_events_configured_by_default_all_have_a_verb() -> None:
    assert InteractionsConfig().events.keys() <= VERBS.keys()


def test_a_new_item_is_not_said_to_be_liked_by_anyone() -> None:
    assert (
        reason("als", 0, ("Red mug", "view"), True)
        == "New, and of a kind that goes with “Red mug”, which you viewed"
    )
    assert reason("als", 0, None, True) == "New: nobody has chosen it yet"
