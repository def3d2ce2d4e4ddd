"""Sentences that say why an item is offered."""

from __future__ import annotations

VERBS = {
    "view": "viewed",
    "click": "clicked",
    "cart": "put in your cart",
    "add_to_cart": "put in your cart",
    "basket": "put in your basket",
    "wishlist": "put on your wish list",
    "buy": "bought",
    "purchase": "bought",
    "order": "ordered",
    "rent": "rented",
    "read": "read",
    "rating": "rated",
    "like": "liked",
    "watch": "watched",
    "play": "played",
}
"""What a user did, in the past tense; other events read "interacted with"."""


def reason(source: str, people: int, cause: tuple[str, str] | None) -> str:
    """The sentence for one recommendation.

    `source` is als, visual or popularity; `people` how many users chose the item; `cause` the title of the item
    in the user's history that caused it and the event by which the user met it.
    """
    if cause is not None:
        title, event = cause
        which = f"“{title}”, which you {VERBS.get(event, 'interacted with')}"
        if source == "visual":
            return f"Looks like {which}"
        return f"Liked by people who share your taste for {which}"
    if source == "als":
        return "Liked by people whose taste is like yours"
    if people == 0:
        return "Nobody has chosen it yet"
    return f"Popular: {people:,} {'person' if people == 1 else 'people'} chose it"
