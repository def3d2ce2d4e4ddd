"""Vectors drawn directly: do they look like pooled features?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vizrec_spark.demo import VectorSpace
from vizrec_spark.errors import InputError

SPACE = VectorSpace(dim=256, seed=3, kinds=12)


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    (block,) = SPACE.blocks(3000, rows=3000)
    return block.vectors, block.labels


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_shape_type_and_sign(sample: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, labels = sample
    assert vectors.shape == (3000, 256)
    assert vectors.dtype == np.float32
    assert labels.shape == (3000, 3)
    assert np.isfinite(vectors).all()
    assert vectors.min() >= 0


def test_they_share_a_large_mean_that_centring_removes(sample: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, _ = sample
    raw = unit(vectors)
    assert (raw[:500] @ raw[500:1000].T).mean() > 0.6
    centred = unit(vectors - vectors.mean(axis=0))
    assert abs((centred[:500] @ centred[500:1000].T).mean()) < 0.05


def test_the_spectrum_falls_by_a_power_law(sample: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, _ = sample
    values = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    shares = values / values.sum()
    assert shares[0] < 0.4
    assert shares[:50].sum() > 0.7
    rank = np.arange(3, 60)
    slope = np.polyfit(np.log(rank + 1), np.log(values[rank]), 1)[0]
    assert -3 < slope < -0.5


def test_neighbours_are_nested(sample: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, labels = sample
    centred = unit(vectors - vectors.mean(axis=0))
    cosine = centred @ centred.T
    same = labels[:, None, :] == labels[None, :, :]
    kind, colour, pattern = same[..., 0], same[..., 1], same[..., 2]
    apart = ~np.eye(len(labels), dtype=bool)
    levels = [
        cosine[~kind & apart].mean(),
        cosine[kind & ~colour & apart].mean(),
        cosine[kind & colour & ~pattern & apart].mean(),
        cosine[kind & colour & pattern & apart].mean(),
    ]
    assert all(near > far + 0.05 for far, near in pairwise(levels))
    assert levels[-1] < 0.97  # individuals differ


def test_groups_differ_in_size(sample: tuple[np.ndarray, np.ndarray]) -> None:
    counts = np.bincount(sample[1][:, 0])
    assert counts.max() > 2 * counts.min()


def test_draw_is_the_blocks_and_the_first_of_many_are_the_same() -> None:
    whole = SPACE.draw(2500)
    np.testing.assert_array_equal(whole[:1100], SPACE.draw(1100))
    assert len(np.unique(whole, axis=0)) == 2500  # nothing repeats from one seeded chunk to the next
    joined = np.concatenate([block.vectors for block in SPACE.blocks(2500, rows=700)])
    np.testing.assert_array_equal(whole, joined)
    assert not np.array_equal(whole[:10], VectorSpace(dim=256, seed=4, kinds=12).draw(10))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="dim"):
        VectorSpace(dim=0)
    with pytest.raises(InputError, match="rows"):
        next(SPACE.blocks(10, rows=0))


def test_vectors_of_given_labels_lie_where_the_space_puts_them() -> None:
    """The nearest of the space's own vectors shares kind and colour; another chunk has other individuals."""
    (own,) = SPACE.blocks(1000, rows=1000)
    made = SPACE.of_labels(own.labels, chunk=0)
    assert (made.shape, made.dtype) == ((1000, 256), np.float32)
    mean = own.vectors.mean(axis=0)
    nearest = (unit(made - mean) @ unit(own.vectors - mean).T).argmax(axis=1)
    assert (own.labels[nearest, 0] == own.labels[:, 0]).mean() > 0.9
    assert np.array_equal(made, SPACE.of_labels(own.labels, chunk=0))
    assert not np.array_equal(made, SPACE.of_labels(own.labels, chunk=1))
