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

_BECAUSE = {
    "visual": "Looks like {}",
    "attributes": "Similar to {}",
    "cooccurrence": "Chosen together with {}",
    "als": "Liked by people who share your taste for {}",
}

_NEW_BECAUSE = {"als": "New, and of a kind that goes with {}"}


def reason(source: str, people: int, cause: tuple[str, str] | None, is_new: bool = False) -> str:
    """The sentence for one recommendation.

    `source` is als, cooccurrence, visual, attributes or popularity; `people` how many users chose the item; `cause`
    the title of the item in the user's history that did most for it and the event by which the user met it; `is_new`
    whether nobody has met the item and its content speaks for it.
    """
    if cause is not None:
        title, event = cause
        sentence = _BECAUSE[source]
        if is_new:
            sentence = _NEW_BECAUSE.get(source, f"New: {sentence[0].lower()}{sentence[1:]}")
        return sentence.format(f"“{title}”, which you {VERBS.get(event, 'interacted with')}")
    if is_new:
        return "New: nobody has chosen it yet"
    if source in ("als", "cooccurrence"):
        return "Liked by people whose taste is like yours"
    if source == "visual":
        return "In the style of what you chose"
    if source == "attributes":
        return "Like what you chose"
    if people == 0:
        return "Nobody has chosen it yet"
    return f"Popular: {people:,} {'person' if people == 1 else 'people'} chose it"
