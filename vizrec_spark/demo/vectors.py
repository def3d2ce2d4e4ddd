"""Embeddings drawn directly, in the likeness of pooled ResNet features, for sizes that pictures cannot reach.

Such features are averages of rectified activations: none is negative, all share a large mean, a few directions
carry most of the variance (its spectrum falls by a power law), and neighbours are nested: things of one kind,
within it of one colour, within that of one pattern, and last the individuals, which lie closer in some places
than in others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.errors import InputError

Vectors = NDArray[np.float32]

CHUNK: Final = 1024  # rows that one seed makes: blocks of any size hold the same vectors
_LATENT: Final = 192  # directions that carry structure
_DECAY: Final = 0.55  # standard deviation of direction k is (k + 1) ** -_DECAY
_LEVELS: Final = {"kind": 1.0, "colour": 0.62, "pattern": 0.48, "individual": 0.42}


@dataclass(frozen=True)
class VectorBlock:
    """Rows ``start`` and following: vectors (rows, dim) float32, and labels kind, colour, pattern (rows, 3)."""

    start: int
    vectors: Vectors
    labels: NDArray[np.int16]


@dataclass(frozen=True)
class VectorSpace:
    """A seeded space of vectors of ``dim`` components with ``kinds`` × ``colours`` × ``patterns`` groups."""

    dim: int = 2048
    seed: int = 7
    kinds: int = 60
    colours: int = 14
    patterns: int = 7

    def __post_init__(self) -> None:
        if min(self.dim, self.kinds, self.colours, self.patterns) < 1:
            raise InputError(f"dim, kinds, colours and patterns must be at least 1; got {self}.")

    def blocks(self, n: int, *, rows: int = 8192) -> Iterator[VectorBlock]:
        """Vectors 0 to n - 1 in blocks of ``rows``; the first m of n vectors are the same for any n and rows.

        Memory: one block and 1,024 rows more. Raises InputError when ``n`` or ``rows`` is below 1.
        """
        if n < 1 or rows < 1:
            raise InputError(f"n and rows must be at least 1; got {n} and {rows}.")
        maker = _maker(self)
        for start in range(0, n, rows):
            stop = min(n, start + rows)
            vectors = np.empty((stop - start, self.dim), dtype=np.float32)
            labels = np.empty((stop - start, 3), dtype=np.int16)
            for chunk in range(start // CHUNK, (stop - 1) // CHUNK + 1):
                made, marks = maker.chunk(chunk)
                low, high = max(start, chunk * CHUNK), min(stop, (chunk + 1) * CHUNK)
                here = slice(low - chunk * CHUNK, high - chunk * CHUNK)
                vectors[low - start : high - start] = made[here]
                labels[low - start : high - start] = marks[here]
            yield VectorBlock(start, vectors, labels)

    def of_labels(self, labels: NDArray[np.integer], *, chunk: int) -> Vectors:
        """Vectors (rows, dim) float32 of things whose labels (rows, 3) are known, at most `CHUNK` rows.

        ``labels`` are codes of kind, colour and pattern, each below the space's number of them; the same labels
        in the same ``chunk`` (any number from 0) give the same vectors.
        """
        return _maker(self).shaped(labels, np.random.default_rng([self.seed, 8, chunk]))

    def draw(self, n: int) -> Vectors:
        """All of the first n vectors, shape (n, dim) float32, filled in place."""
        vectors = np.empty((n, self.dim), dtype=np.float32)
        for block in self.blocks(n, rows=4 * CHUNK):
            vectors[block.start : block.start + len(block.vectors)] = block.vectors
        return vectors


@lru_cache(maxsize=1)
def _maker(space: VectorSpace) -> _Maker:
    return _Maker(space)


class _Maker:
    """The parts that all vectors of a space share."""

    def __init__(self, space: VectorSpace) -> None:
        self._space = space
        self._last: tuple[int, Vectors, NDArray[np.int16]] | None = None
        rng = np.random.default_rng([space.seed, 4])
        width = min(_LATENT, space.dim)
        self._spread = ((np.arange(width) + 1.0) ** -_DECAY).astype(np.float32)
        self._spread *= np.float32(1 / np.sqrt((self._spread**2).sum()))
        directions = rng.standard_normal((width, space.dim)).astype(np.float32)
        self._directions = directions * self._spread[:, None]
        self._mean = rng.gamma(2.0, 0.5, space.dim).astype(np.float32) - np.float32(0.35)
        self._kind = self._centres(rng, (space.kinds,), "kind")
        # A colour looks alike on every kind, but not quite; so does a pattern.
        self._colour = 0.7 * self._centres(rng, (1, space.colours), "colour") + 0.7 * self._centres(
            rng, (space.kinds, space.colours), "colour"
        )
        self._pattern = 0.6 * self._centres(rng, (1, 1, space.patterns), "pattern") + 0.8 * self._centres(
            rng, (space.kinds, space.colours, space.patterns), "pattern"
        )
        shape = (space.kinds, space.colours, space.patterns)
        self._looseness = np.exp(rng.normal(0, 0.35, shape)).astype(np.float32) * np.float32(
            _LEVELS["individual"]
        )
        self._shares = [
            weights / weights.sum() for weights in ((np.arange(size) + 2.0) ** -0.8 for size in shape)
        ]

    def _centres(self, rng: np.random.Generator, shape: tuple[int, ...], level: str) -> Vectors:
        drawn = rng.standard_normal((*shape, len(self._spread)), dtype=np.float32)
        return drawn * np.float32(_LEVELS[level])

    def chunk(self, number: int) -> tuple[Vectors, NDArray[np.int16]]:
        """Chunk ``number``: vectors (1024, dim) and labels (1024, 3). The last one made is kept for small blocks."""
        if self._last is None or self._last[0] != number:
            self._last = (number, *self._make(number))
        return self._last[1], self._last[2]

    def _make(self, number: int) -> tuple[Vectors, NDArray[np.int16]]:
        rng = np.random.default_rng([self._space.seed, 5, number])
        labels = np.stack([rng.choice(len(p), size=CHUNK, p=p) for p in self._shares], axis=1)
        return self.shaped(labels, rng), labels.astype(np.int16)

    def shaped(self, labels: NDArray[np.integer], rng: np.random.Generator) -> Vectors:
        """Vectors of individuals with these labels (rows, 3), their differences drawn from ``rng``."""
        kind, colour, pattern = labels.T
        latent = rng.standard_normal((len(labels), len(self._spread)), dtype=np.float32)
        latent *= self._looseness[kind, colour, pattern][:, None]
        latent += self._kind[kind] + self._colour[kind, colour] + self._pattern[kind, colour, pattern]
        vectors = latent @ self._directions
        vectors *= np.float32(0.5)
        vectors += self._mean
        vectors += rng.standard_normal(vectors.shape, dtype=np.float32) * np.float32(0.05)
        # A smooth rectifier, as the mean over places of rectified activations is.
        softened = np.sqrt(vectors * vectors + np.float32(0.09))
        vectors += softened
        vectors *= np.float32(0.5)
        return vectors
