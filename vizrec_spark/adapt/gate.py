"""Whether a new version may serve: shown better than the plain features and than what serves now, or with a tolerance
not worse by more than that."""

from __future__ import annotations

from dataclasses import dataclass

from vizrec_spark.adapt.judging.classification import Share
from vizrec_spark.adapt.judging.retrieval import Mean
from vizrec_spark.config.models import AdaptGateConfig


@dataclass(frozen=True)
class Decision:
    """`promoted`, and why as a sentence."""

    promoted: bool
    sentence: str


def decide(correct: Share, gain: Mean, current: Mean | None, k: int, rules: AdaptGateConfig) -> Decision:
    """Holds a version back unless the lower end of the 95 % interval of its gain in precision@k over the plain features
    is above 0, or with a `rules.tolerance` no further below 0 than that, and, where a version serves, so is that of its
    gain over that one (`current`, on the same test pictures); and, where `rules.min_accuracy` is set, its accuracy
    reaches it."""
    told = f"accuracy {correct.value:.4f} [{correct.lo:.4f}, {correct.hi:.4f}]"
    if rules.min_accuracy is not None and correct.value < rules.min_accuracy:
        return Decision(False, f"held: {told} is below adapt.gate.min_accuracy {rules.min_accuracy:.4f}")
    for name, difference in (("the plain features", gain), ("the version that serves", current)):
        if difference is None:
            continue
        apart = (
            f"precision@{k} differs from that of {name} by {difference.value:+.4f} [{difference.lo:+.4f}, "
            f"{difference.hi:+.4f}]"
        )
        # An interval that ends at 0 is no evidence that anything is better.
        clear = difference.lo >= -rules.tolerance if rules.tolerance > 0 else difference.lo > 0
        if not clear:
            return Decision(False, f"held: {apart}, which is not clear of {0 - rules.tolerance:g}; {told}")
        told = f"{apart}; {told}"
    return Decision(True, f"promoted: {told}")
