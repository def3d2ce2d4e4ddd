"""Embeddings for benchmarks, without pictures: nested neighbourhoods of uneven density under a power-law spectrum.

Pooled CNN features of real photographs have four traits that decide how hard a nearest-neighbour search is, and
the vectors drawn here have them too:

- a spectrum that falls by a power law, so some hundred directions carry most of the variance;
- no gaps between groups: an item has near, middling and far relatives at every scale. Here each item descends from
  an earlier one, x = √(1 − s²) · parent + s · noise, by a step s that is drawn per family and per item, so that
  lineages make a tree with branches of all sizes and densities (heavy-tailed, not Gaussian clusters);
- near-duplicates: a share of the steps is tiny, as with a second photograph of one product;
- no negative value and a large shared mean, because averages of rectified activations have them.

Nothing in here is fitted to a data set. Beside 20,000 augmented real photographs under an ImageNet encoder, the centred
cosines of the 1st, 10th and 50th neighbour are alike (0.91, 0.64, 0.42 against 0.89, 0.52, 0.44 in the median), and a
query must look at twice as many candidates for the same recall: these vectors are the harder ones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

LATENT: Final = 384  # directions that carry structure
DECAY: Final = 0.5  # standard deviation of direction i is (i + 1) ** -DECAY
FOUNDERS: Final = 64  # items without a parent
DUPLICATES: Final = 0.04  # share of items that nearly repeat their parent
_NOISE: Final = 0.05
_FIRST_STEP: Final = 0.9
_NARROWING: Final = 0.16
_BLOCK: Final = 8192


def drawn_vectors(n: int, dim: int, *, seed: int) -> Vectors:
    """n vectors of `dim` components, float32, none negative; in random order, the same for the same arguments."""
    generator = np.random.default_rng([seed, n])
    latent = _lineages(n, generator)
    spread = ((np.arange(LATENT) + 1.0) ** -DECAY).astype(np.float32)
    spread /= np.sqrt(np.square(spread).sum())
    directions = generator.standard_normal((LATENT, dim), dtype=np.float32) * spread[:, None]
    mean = generator.gamma(2.0, 0.5, dim).astype(np.float32) - np.float32(0.35)
    vectors = np.empty((n, dim), dtype=np.float32)
    order = generator.permutation(n)
    for start in range(0, n, _BLOCK):
        rows = order[start : start + _BLOCK]
        block = latent[rows] @ directions
        block += mean
        block += generator.standard_normal(block.shape, dtype=np.float32) * np.float32(_NOISE)
        # A smooth rectifier, as the mean over places of rectified activations is.
        vectors[start : start + len(rows)] = 0.5 * (block + np.sqrt(block * block + np.float32(0.09)))
    return vectors


def _lineages(n: int, generator: np.random.Generator) -> Vectors:
    """Latent coordinates (n × LATENT), standard normal in each direction, of items that descend from each other."""
    latent = np.empty((n, LATENT), dtype=np.float32)
    made = min(n, FOUNDERS)
    latent[:made] = generator.standard_normal((made, LATENT), dtype=np.float32)
    # How much the children of an item differ from it: drawn once a family and inherited with a change.
    looseness = np.empty(n, dtype=np.float32)
    looseness[:made] = generator.normal(0.0, 0.3, made)
    while made < n:
        born = slice(made, min(n, 2 * made, made + 65536))
        children = born.stop - born.start
        parent = generator.integers(0, made, children)
        looseness[born] = 0.8 * looseness[parent] + generator.normal(0.0, 0.2, children)
        # The fuller the space, the nearer a newcomer is to what is there.
        scale = _FIRST_STEP * (made / FOUNDERS) ** -_NARROWING
        step = np.clip(scale * np.exp(looseness[born]), 0.05, 0.98).astype(np.float32)
        step[generator.random(children) < DUPLICATES] = 0.04
        for start in range(0, children, _BLOCK):
            part = slice(start, min(children, start + _BLOCK))
            s = step[part, None]
            noise = generator.standard_normal((part.stop - part.start, LATENT), dtype=np.float32)
            latent[made + part.start : made + part.stop] = (
                np.sqrt(1 - s * s) * latent[parent[part]] + s * noise
            )
        made = born.stop
    return latent
