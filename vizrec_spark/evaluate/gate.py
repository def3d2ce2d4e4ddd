"""The gate: whether a candidate model may take the place of the current one. Pure code, no Spark."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from vizrec_spark.evaluate.metrics import LOWER_IS_BETTER

PROMOTE, HOLD = "promote", "hold"


@dataclass(frozen=True)
class Measured:
    """What was measured of a candidate: `value` with its 95 % interval over `n_users` users, and, with a current
    model, the paired `difference` (candidate less current) over `n_both` users with its interval."""

    model: str
    metric: str
    value: float
    lo: float
    hi: float
    n_users: int
    current: str | None = None
    difference: float | None = None
    difference_lo: float | None = None
    difference_hi: float | None = None
    n_both: int | None = None


@dataclass(frozen=True)
class Rules:
    """What a candidate has to reach.

    minimum: the value that it must reach whatever the current model does; None: none. tolerance: how much worse than
    the current model it may be at the bad end of the interval of the difference, in units of the metric; 0: it must
    be better. min_users: fewer users, of the value or of the difference, decide nothing.
    """

    minimum: float | None = None
    tolerance: float = 0.0
    min_users: int = 30

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise ValueError(f"tolerance must be at least 0, got {self.tolerance}")


@dataclass(frozen=True)
class Decision:
    """`verdict` (``promote`` or ``hold``), the rule that decided (`reason`), and a `sentence` for people."""

    verdict: str
    reason: str
    sentence: str
    measured: Measured
    rules: Rules

    @property
    def promoted(self) -> bool:
        """Whether the candidate may be published."""
        return self.verdict == PROMOTE

    @property
    def figures(self) -> dict[str, float]:
        """For the record of the run: `gate_passed` (0 or 1), `gate_value`, with a current model `gate_difference`."""
        difference = self.measured.difference
        compared = {} if difference is None else {"gate_difference": difference}
        return {"gate_passed": float(self.promoted), "gate_value": self.measured.value, **compared}

    def to_json(self) -> str:
        """One line of JSON with the fields of this object, for a machine."""
        return json.dumps(asdict(self), sort_keys=True)


def decide(measured: Measured, rules: Rules) -> Decision:
    """Holds a candidate for too few users, below the minimum, or when it may be worse than the current model.

    A candidate passes if the bad end of the 95 % interval of the paired difference is above 0, or, with a `tolerance`
    above 0, no further below 0 than that. So a model that the data cannot tell from the current one passes only where
    a tolerance allows it; an interval that ends at 0 or is nothing but 0 is no evidence. Without a current model the
    minimum decides alone. Metrics of which less is better (`LOWER_IS_BETTER`) are compared the other way round.

    Raises: ValueError when there is nothing to hold the candidate against, or no difference to the current model.
    """
    if measured.current is None and rules.minimum is None:
        raise ValueError(f"nothing to hold {measured.model} against: neither a current model nor a minimum")
    sign = -1.0 if measured.metric.split("@")[0] in LOWER_IS_BETTER else 1.0
    told = (
        f"{measured.model} has {measured.metric} {measured.value:.4f} [{measured.lo:.4f}, {measured.hi:.4f}]"
    )

    def verdict(name: str, reason: str, why: str) -> Decision:
        word = "Promote" if name == PROMOTE else "Hold"
        return Decision(
            name, reason, f"{word}: {told} over {measured.n_users:,} users; {why}.", measured, rules
        )

    if measured.n_users < rules.min_users:
        return verdict(HOLD, "too_few_users", f"at least {rules.min_users:,} users are needed to decide")
    if math.isnan(measured.value):
        return verdict(HOLD, "not_measured", "the metric has no value")
    if rules.minimum is not None and sign * measured.value < sign * rules.minimum:
        return verdict(HOLD, "beyond_minimum", f"the limit is {rules.minimum:.4f}")
    if measured.current is None:
        return verdict(PROMOTE, "no_current_model", "there is no current model to compare with")
    if measured.difference is None or measured.difference_lo is None or measured.difference_hi is None:
        raise ValueError(
            f"no difference of {measured.model} to the current model {measured.current} was measured"
        )
    n_both = measured.n_users if measured.n_both is None else measured.n_both
    if n_both < rules.min_users:
        return verdict(
            HOLD,
            "too_few_users",
            f"{n_both:,} of them can be compared with {measured.current}, at least {rules.min_users:,} are needed",
        )
    apart = (
        f"its paired difference to {measured.current} is {measured.difference:+.4f} "
        f"[{measured.difference_lo:+.4f}, {measured.difference_hi:+.4f}]"
    )
    bad_end = min(sign * measured.difference_lo, sign * measured.difference_hi)
    if bad_end > 0:
        return verdict(PROMOTE, "better", f"{apart}, clear of 0")
    if rules.tolerance > 0 and bad_end >= -rules.tolerance:
        return verdict(PROMOTE, "not_worse", f"{apart}, within the tolerated {rules.tolerance:.4f}")
    if rules.tolerance > 0:
        why = f"which reaches further than the tolerated {rules.tolerance:.4f}"
    else:
        why = "which is not clear of 0, and nothing is tolerated"
    return verdict(HOLD, "may_be_worse", f"{apart}, {why}")
