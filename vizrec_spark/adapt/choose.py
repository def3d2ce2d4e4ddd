"""What is chosen on validation pictures, and then learned from these and the training pictures together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.adapt.contrast import Contrast, learn_contrast
from vizrec_spark.adapt.discriminant import Discriminants
from vizrec_spark.adapt.kernel_machine import KernelSums
from vizrec_spark.adapt.moments import Moments, moments_of
from vizrec_spark.adapt.network import Examples, train
from vizrec_spark.adapt.shape import Directions, Shape
from vizrec_spark.adapt.spool import Features
from vizrec_spark.config.models import AdaptConfig, HeadConfig
from vizrec_spark.kernels.adapted import Adapted, Floats, Head, Kind, probabilities_of, summed_logits

_STEPS, _CLOSE = 60, 1e-4  # of the search for a temperature
_JUDGED = 5000  # validation pictures on which projections are compared
_QUARTERS = 4
_FEW = 1e-9


@dataclass(frozen=True)
class Learned:
    """The adaptation, and what was chosen for it, in words."""

    adapted: Adapted
    told: tuple[str, ...]


def learn(
    features: Features, truth: NDArray[np.bool_], part: NDArray[np.str_], classes: tuple[str, ...], kind: Kind,
    config: AdaptConfig,
) -> Learned:  # fmt: skip
    """Chooses on the pictures of part ``validation``, learns from ``train`` and ``validation``, does not look at test.

    truth (n, classes), part (n,) of the rows of `features`. Chosen are the epochs, the discriminants' shrinkage, the
    kernel machine's ridge, what shares the three have in the head (by log-loss), its temperature, and the projection
    (by precision of the `config.k` nearest neighbours). Memory: d² and landmarks² numbers, and 4 · (d + classes) bytes
    a validation picture, of 5,000 at most for the projection.
    """
    early, held = np.flatnonzero(part == "train"), np.flatnonzero(part == "validation")
    before = _Stand(Examples(features, early, truth, kind), moments_of(features, early, truth))
    leading = config.projection.dimensions
    tried = _candidates(before, Examples(features, held, truth, kind), config)
    chosen = _elected(tried, truth[held], kind)
    drawn = np.sort(np.random.default_rng(config.seed).permutation(len(held))[:_JUDGED])
    directions = Directions.of(before.discriminants, before.moments, leading)
    contrast = None
    if config.projection.contrast.enabled:
        contrast = _contrast(before, directions, config, validation=Examples(features, held, truth, kind))
        directions = replace(directions, contrast=contrast.directions)
    shape = Shape.choose(
        directions,
        features.rows(held[drawn]),
        truth[held[drawn]],
        probabilities_of(chosen.logits[drawn], kind, chosen.temperature),
        config,
    )
    both = Examples(features, np.sort(np.concatenate([early, held])), truth, kind)
    after = _Stand(both, before.moments.plus(moments_of(features, held, truth)))
    members = [
        head.scaled(share / one.temperature) for one, share in chosen.parts for head in one.anew(after)
    ]
    final = Directions.of(after.discriminants, after.moments, leading)
    if shape.shrinkage is None and contrast is not None:
        final = replace(final, contrast=_contrast(after, final, config, epochs=contrast.epochs).directions)
    adapted = Adapted(kind, classes, tuple(members), chosen.temperature, shape.projection(final))
    told = (
        "log-loss on validation pictures: " + ", ".join(f"{one.name} {one.loss:.4f}" for one in tried),
        f"head: {', '.join(f'{share:.0%} {one.name}' for one, share in chosen.parts)}; log-loss {chosen.loss:.4f}",
        f"projection: {shape}",
    )
    return Learned(adapted, told)


def _contrast(
    stand: _Stand, directions: Directions, config: AdaptConfig, *, validation: Examples | None = None,
    epochs: int | None = None,
) -> Contrast:  # fmt: skip
    return learn_contrast(
        stand.examples,
        directions.leading,
        directions.discriminants.centre,
        config.projection.contrast,
        config.seed,
        validation=validation,
        epochs=epochs,
    )


def network_loss(
    features: Features, truth: NDArray[np.bool_], part: NDArray[np.str_], kind: Kind, head: HeadConfig, seed: int
) -> float:  # fmt: skip
    """The log-loss, at the best temperature, on part ``validation`` of the network that learns from ``train``."""
    early, held = (
        Examples(features, np.flatnonzero(part == name), truth, kind) for name in ("train", "validation")
    )
    members = train(early, head, seed, validation=held).members
    logits = np.concatenate([summed_logits(members, x) for _, x in features.blocks(held.rows)])
    return _calibrated(logits, truth[held.rows], kind)[1]


@dataclass(frozen=True)
class _Stand:
    """What there is to learn from: pictures, and their moments."""

    examples: Examples
    moments: Moments

    @cached_property
    def discriminants(self) -> Discriminants:
        return Discriminants.of(self.moments)


@dataclass(frozen=True)
class _Candidate:
    """A head that was learned from the training pictures: its logits on the validation pictures, their loss at the best
    temperature, and `anew`, which learns it once more from others with what was chosen."""

    name: str
    logits: Floats
    temperature: float
    loss: float
    anew: Callable[[_Stand], tuple[Head, ...]]


@dataclass(frozen=True)
class _Elected:
    """The heads that are taken together with their shares, and their mean on the validation pictures, each at its
    temperature."""

    parts: tuple[tuple[_Candidate, float], ...]
    logits: Floats
    temperature: float
    loss: float


def _candidates(stand: _Stand, held: Examples, config: AdaptConfig) -> list[_Candidate]:
    """The network; and of one label a picture the discriminants and the kernel machine, each at its best setting."""
    head = config.head
    trained = train(stand.examples, head, config.seed, validation=held)

    def network(later: _Stand) -> tuple[Head, ...]:
        return train(later.examples, head, config.seed, epochs=trained.epochs).members

    found = [_candidate(f"network ({trained.epochs} epochs)", trained.members, held, network)]
    if held.kind == "multi_label":
        return found

    def discriminants(shrinkage: float) -> _Candidate:
        def anew(later: _Stand) -> tuple[Head, ...]:
            return (later.discriminants.classifier(shrinkage),)

        return _candidate(f"discriminants (shrinkage {shrinkage:g})", anew(stand), held, anew)

    def sums(of: _Stand) -> KernelSums:
        return KernelSums.of(of.examples, of.moments, head.landmarks, config.seed)

    def kernel(mine: KernelSums, ridge: float) -> _Candidate:
        def anew(later: _Stand) -> tuple[Head, ...]:
            return (sums(later).machine(ridge),)

        return _candidate(f"kernel (ridge {ridge:g})", (mine.machine(ridge),), held, anew)

    if head.discriminants:
        found.append(min(map(discriminants, config.projection.shrinkage), key=lambda one: one.loss))
    if head.landmarks:
        mine = sums(stand)
        found.append(min((kernel(mine, ridge) for ridge in head.ridge), key=lambda one: one.loss))
    return found


def _candidate(
    name: str, heads: tuple[Head, ...], held: Examples, anew: Callable[[_Stand], tuple[Head, ...]]
) -> _Candidate:
    logits = np.concatenate([summed_logits(heads, x) for _, x in held.features.blocks(held.rows)])
    return _Candidate(name, logits, *_calibrated(logits, held.truth[held.rows], held.kind), anew)


def _elected(tried: Sequence[_Candidate], truth: NDArray[np.bool_], kind: Kind) -> _Elected:
    """Of all shares of the candidates, in quarters, those whose mean has the least loss; of equals the fewest heads."""
    found = []
    for quarters in product(range(_QUARTERS + 1), repeat=len(tried)):
        if sum(quarters) != _QUARTERS:
            continue
        parts = tuple((one, q / _QUARTERS) for one, q in zip(tried, quarters, strict=True) if q)
        logits = np.zeros(tried[0].logits.shape, np.float32)
        for one, share in parts:
            logits += np.float32(share / one.temperature) * one.logits
        found.append(_Elected(parts, logits, *_calibrated(logits, truth, kind)))
    return min(found, key=lambda one: (one.loss, len(one.parts)))


def _calibrated(logits: Floats, truth: NDArray[np.bool_], kind: Kind) -> tuple[float, float]:
    """The temperature of least log-loss (Guo et al. 2017), 0.001 to 1000, and that loss.

    The loss is convex in 1 / T: Newton's steps on its slope; where one leaves what is left of the range, its middle.
    """
    z = logits.astype(np.float64)
    low, high, sharpness = 1e-3, 1e3, 1.0
    for _ in range(_STEPS):
        slope, bend = _slope(z, truth, kind, sharpness)
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
        step = sharpness - slope / bend if bend > 0 else high
        following = step if low < step < high else math.sqrt(low * high)
        moved, sharpness = abs(following - sharpness), following
        if moved <= _CLOSE * sharpness:
            break
    temperature = 1 / sharpness
    return temperature, log_loss(probabilities_of(logits, kind, temperature), truth, kind)


def _slope(z: NDArray[np.float64], truth: NDArray[np.bool_], kind: Kind, b: float) -> tuple[float, float]:
    """First and second derivative by b of the log-loss of logits b z."""
    p = probabilities_of(z, kind, 1 / b).astype(np.float64)
    if kind == "multi_label":
        return float(((p - truth) * z).mean()), float((p * (1 - p) * z * z).mean())
    mean = (p * z).sum(axis=1)
    return float((mean - z[truth]).mean()), float(((p * z * z).sum(axis=1) - mean * mean).mean())


def log_loss(probabilities: Floats, truth: NDArray[np.bool_], kind: Kind) -> float:
    """The mean of -log of what the true labels were given, (n, classes) both; multi_label: over all labels."""
    p = np.clip(probabilities.astype(np.float64), _FEW, 1 - _FEW)
    if kind == "multi_label":
        return float(-np.where(truth, np.log(p), np.log(1 - p)).mean())
    return float(-np.log(p[truth]).mean())
