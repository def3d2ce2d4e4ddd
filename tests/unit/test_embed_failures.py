"""When a run may go on although pictures have failed."""

from __future__ import annotations

import pytest

from vizrec_spark.embed.failures import Pictures, TooManyFailures, check_failures


@pytest.mark.parametrize(
    ("refused", "pictures", "words"),
    [
        ({"truncated": 50}, Pictures(1_000, 0, 1_000), None),
        ({"truncated": 51}, Pictures(1_000, 0, 1_000), r"51 of the 1,000 pictures of the shop"),
        # Many new pictures of which none works, in a shop that is so large that they hardly count.
        (
            {"non_finite_vector": 40_000},
            Pictures(1_000_000, 0, 40_000),
            r"40,000 of the 40,000 pictures of this run .*\(in this run non_finite_vector 40,000\)",
        ),
        # A few new ones say nothing about the encoder.
        ({"truncated": 3}, Pictures(1_000, 0, 3), None),
        # What failed before has no vector either.
        ({"truncated": 3}, Pictures(1_000, 48, 3), r"51 of the 1,000 .*truncated 3"),
    ],
)
def test_too_many_of_the_shop_or_of_the_run_stop_it(
    refused: dict[str, int], pictures: Pictures, words: str | None
) -> None:
    if words is None:
        check_failures(refused, pictures, 0.05, published=False)
        return
    with pytest.raises(TooManyFailures, match=words):
        check_failures(refused, pictures, 0.05, published=False)


def test_the_message_says_what_stands() -> None:
    for published, words in ((True, "stays published"), (False, "was not published")):
        with pytest.raises(TooManyFailures, match=words):
            check_failures({"truncated": 1}, Pictures(1, 0, 1), 0.0, published=published)
