"""Whether a new version may serve: shown better than the plain features, and not shown worse than what serves now."""

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
    is above -`rules.tolerance`, and so is, where a version serves, that of its gain over that one (`current`, on the
    same test pictures); and, where `rules.min_accuracy` is set, its accuracy reaches it."""
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
        if difference.lo <= -rules.tolerance and not (
            rules.tolerance > 0 and difference.lo == -rules.tolerance
        ):
            return Decision(False, f"held: {apart}, which is not clear of -{rules.tolerance:.4f}; {told}")
        told = f"{apart}; {told}"
    return Decision(True, f"promoted: {told}")
