"""The rule that picks tables and bits, and what the hash promises about it."""

from __future__ import annotations

import numpy as np
import pytest

from vizrec_spark.similar.lsh import (
    LshParams,
    agreement,
    bucket_keys,
    choose_params,
    expected_recall,
    hyperplanes,
)
from vizrec_spark.similar.plan import choose_method


def test_agreement_is_linear_in_the_angle() -> None:
    np.testing.assert_allclose(agreement(np.array([1.0, 0.5, 0.0, -1.0])), [1, 2 / 3, 0.5, 0], atol=1e-12)


def test_expected_recall_by_hand() -> None:
    # At 60 degrees a bit agrees with 2/3, two bits with 4/9, and one of three tables with 1 - (5/9)^3.
    assert expected_recall([0.5], tables=3, bits=2) == pytest.approx(1 - (5 / 9) ** 3)
    assert expected_recall([0.5, 1.0], tables=3, bits=2) == pytest.approx(1 - (5 / 9) ** 3 / 2)


@pytest.mark.parametrize("n_items", [1_000, 100_000, 10_000_000])
@pytest.mark.parametrize("cosine", [0.4, 0.7, 0.95])
def test_chosen_params_promise_the_target_with_no_table_to_spare(n_items: int, cosine: float) -> None:
    params = choose_params(n_items, target_recall=0.95, neighbor_cosines=[cosine], bucket_cap=n_items)
    assert expected_recall([cosine], tables=params.tables, bits=params.bits) >= 0.95
    if params.tables > 1:
        assert expected_recall([cosine], tables=params.tables - 1, bits=params.bits) < 0.95


def test_more_items_get_more_bits() -> None:
    few = choose_params(20_000, target_recall=0.95, neighbor_cosines=[0.8])
    many = choose_params(5_000_000, target_recall=0.95, neighbor_cosines=[0.8], bucket_cap=10**7)
    assert many.bits > few.bits


def test_a_cap_below_the_buckets_is_not_taken_for_less_work() -> None:
    # With 20,000 items, buckets of few bits would be split, and neighbours parted with them.
    params = choose_params(20_000, target_recall=0.95, neighbor_cosines=[0.85], bucket_cap=1024)
    assert 20_000 / 2**params.bits <= 2 * 1024
    kept = min(1.0, 1024 * 2**params.bits / 20_000)
    assert expected_recall([0.85], tables=params.tables, bits=params.bits, kept=kept) >= 0.95


def test_given_tables_and_bits_stay() -> None:
    assert choose_params(50_000, target_recall=0.9, tables=3, bits=5) == LshParams(3, 5)
    assert choose_params(50_000, target_recall=0.9, bits=5).bits == 5
    fixed = choose_params(50_000, target_recall=0.9, tables=12, neighbor_cosines=[0.7])
    assert fixed.tables == 12
    assert expected_recall([0.7], tables=12, bits=fixed.bits) >= 0.9
    assert expected_recall([0.7], tables=12, bits=fixed.bits + 1) < 0.9


def test_a_target_out_of_reach_gets_the_most_that_there_is() -> None:
    params = choose_params(50_000, target_recall=0.999_999, neighbor_cosines=[-0.9])
    assert params.bits == 1 and params.tables == 64


@pytest.mark.parametrize("wrong", [{"tables": 0}, {"bits": 0}, {"bits": 25}, {"bucket_cap": 1}])
def test_impossible_params_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected tables"):
        LshParams(**{"tables": 2, "bits": 2, **wrong})


def test_an_impossible_target_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        choose_params(10, target_recall=1.0)


def test_planes_and_keys_are_those_of_the_seed() -> None:
    params = LshParams(tables=3, bits=4, seed=7)
    np.testing.assert_array_equal(hyperplanes(5, params), hyperplanes(5, params))
    assert not np.array_equal(hyperplanes(5, params), hyperplanes(5, LshParams(3, 4, seed=8)))
    matrix = np.random.default_rng(0).random((50, 5), dtype=np.float32)
    keys = bucket_keys(matrix, matrix.mean(axis=0), hyperplanes(5, params), params.bits)
    assert keys.shape == (50, 3) and keys.dtype == np.int64
    assert keys.min() >= 0 and keys.max() < 16 and len(np.unique(keys)) > 4


def test_keys_are_the_signs_by_hand() -> None:
    planes = np.array([[1, 0, 0, 1], [0, 1, -1, 0]], dtype=np.float32)  # two tables of two bits
    matrix = np.array([[2, 0], [0, 3], [-1, -1], [0, 0]], dtype=np.float32)
    mean = np.array([0.5, 0.0], dtype=np.float32)
    # Unit vectors less the mean: (.5, 0), (-.5, 1), (-1.2, -.7), (-.5, 0); the first bit weighs 1.
    assert bucket_keys(matrix, mean, planes, 2).tolist() == [[3, 3], [2, 0], [0, 1], [2, 1]]


def test_bits_agree_as_often_as_the_angle_says() -> None:
    angle = np.pi / 3
    pair = np.array([[1, 0], [np.cos(angle), np.sin(angle)]], dtype=np.float32)
    params = LshParams(tables=20_000, bits=1, seed=3)
    keys = bucket_keys(pair, np.zeros(2, dtype=np.float32), hyperplanes(2, params), 1)
    assert np.mean(keys[0] == keys[1]) == pytest.approx(2 / 3, abs=0.02)


def test_length_does_not_decide_the_bucket() -> None:
    params = LshParams(tables=4, bits=6, seed=1)
    matrix = np.random.default_rng(1).random((40, 8), dtype=np.float32) + 0.5
    planes, mean = hyperplanes(8, params), np.full(8, 0.3, dtype=np.float32)
    np.testing.assert_array_equal(
        bucket_keys(matrix, mean, planes, 6), bucket_keys(4 * matrix, mean, planes, 6)
    )


def test_auto_changes_over_at_the_threshold() -> None:
    assert choose_method("auto", 19_999, 20_000) == "exact"
    assert choose_method("auto", 20_000, 20_000) == "lsh"
    assert choose_method("lsh", 10, 20_000) == "lsh"
    assert choose_method("exact", 10**6, 20_000) == "exact"
    with pytest.raises(ValueError, match="auto, exact or lsh"):
        choose_method("flat", 10, 10)  # type: ignore[arg-type]
