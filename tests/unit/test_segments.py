"""Popularity in groups: shares between those of the group and those of all, by what tells most."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vizrec_spark.recommend.segments import Segments, standing_of

NAMES = np.array(["a", "b"], dtype=object)


def made(likes: np.ndarray, people: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Popularity of groups and of all, from likes (groups, items) that are as recent as they are many."""
    all_of_them = likes.sum(axis=0) if people is None else people
    counted = Segments(NAMES[: len(likes)], np.stack([likes, 0.5 * likes], axis=2).astype(np.float32))
    found = standing_of(counted, all_of_them.astype(float), 0.5 * all_of_them)
    shares = np.expm1(found.standing.astype(np.float64)) / [all_of_them.sum(), 0.5 * all_of_them.sum()]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(shares[..., 0], shares[..., 1], rtol=1e-4)
    return shares[..., 0], all_of_them / all_of_them.sum()


def test_groups_of_unlike_taste_keep_their_own() -> None:
    likes = np.array([[90, 60, 30, 0, 0, 1], [1, 0, 0, 40, 80, 90]])
    shares, _ = made(likes)
    assert np.abs(shares - likes / likes.sum(axis=1, keepdims=True)).max() < 0.03
    assert (shares > 0).all()  # what nobody of a group has chosen is still possible


def test_groups_that_do_not_differ_are_not_told_apart() -> None:
    usual = np.random.default_rng(2).dirichlet(np.full(40, 0.5))
    likes = np.random.default_rng(3).multinomial(400, usual, size=2)
    shares, everyone = made(likes)
    own = likes / likes.sum(axis=1, keepdims=True)
    assert np.abs(shares - everyone).sum() < 0.1 * np.abs(own - everyone).sum()


def test_a_group_of_which_little_is_known_is_near_to_all() -> None:
    people = np.array([100, 80, 60, 40, 20])
    likes = np.array([[0, 0, 0, 0, 1], [100, 80, 60, 40, 19]])
    shares, everyone = made(likes, people)
    assert np.abs(shares[0] - everyone).max() < 0.1
    assert shares[0][4] > everyone[4]


@pytest.mark.parametrize("people", [np.zeros(3), np.array([5.0, 0.0, 0.0])])
def test_a_group_of_whom_nobody_likes_anything_is_as_all(people: np.ndarray) -> None:
    counted = Segments(NAMES[:1], np.zeros((1, 3, 2), dtype=np.float32))
    found = standing_of(counted, people, people)
    np.testing.assert_allclose(found.standing[0], np.log1p(np.column_stack([people, people])), rtol=1e-6)


def test_names_are_found() -> None:
    groups = Segments(NAMES, np.zeros((2, 3, 2), dtype=np.float32))
    assert groups.positions(pa.array(["b", None, "a", "c"])).tolist() == [1, -1, 0, -1]
    assert Segments.none(3).positions(pa.array(["a", None])).tolist() == [-1, -1]
