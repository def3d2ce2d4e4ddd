"""Intervals and paired tests: against plain Python, against scipy, and whether they keep what they promise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from vizrec_spark.evaluate.intervals import Figures, figures_of, sums_of
from vizrec_spark.evaluate.summary import whole_users
from vizrec_spark.kernels.resampling import poisson_weights, random_signs

NAN = float("nan")
some_values = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.just(3), st.just(2)),
    elements=st.one_of(st.just(NAN), st.floats(0, 1)),
)


def hashes(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**63, n, dtype=np.uint64)


@settings(max_examples=25)
@given(some_values)
def test_against_plain_python(values: np.ndarray) -> None:
    users, reference = hashes(len(values)), 1
    found = figures_of(sums_of(values, users, reference, 100, 7))
    weights, signs = poisson_weights(users, 100, 7), random_signs(users, 100, 7)
    for model in range(3):
        for metric in range(2):
            own, other = values[:, model, metric], values[:, reference, metric]
            there = ~np.isnan(own)
            at = (model, metric)
            assert found.n[at] == there.sum()
            if not there.any():
                assert np.isnan([found.mean[at], found.lo[at], found.hi[at]]).all()
                continue
            assert found.mean[at] == pytest.approx(own[there].mean())
            drawn = [np.average(own[there], weights=w[there]) for w in weights.T if w[there].sum() > 0]
            if drawn:
                assert [found.lo[at], found.hi[at]] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])))
            apart = (own - other)[~np.isnan(own - other)]
            if len(apart) == 0:
                assert np.isnan([found.difference[at], found.p_value[at]]).all()
                continue
            assert found.difference[at] == pytest.approx(apart.mean())
            flipped = np.abs(signs[~np.isnan(own - other)].T @ apart)
            as_far = (flipped >= abs(apart.sum()) - 1e-12).sum()
            assert found.p_value[at] == pytest.approx((1 + as_far) / 101)


@settings(max_examples=25)
@given(some_values, st.integers(0, 12))
def test_sums_of_parts_are_the_sums_of_the_whole(values: np.ndarray, cut: int) -> None:
    users = hashes(len(values))
    whole = sums_of(values, users, 0, 100, 1)
    parts = sums_of(values[:cut], users[:cut], 0, 100, 1).plus(sums_of(values[cut:], users[cut:], 0, 100, 1))
    for mine, theirs in zip(whole, parts, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)


def test_a_user_of_two_rounds_is_one_user() -> None:
    rng = np.random.default_rng(4)
    values, users = rng.random((50, 2, 3)), hashes(50)
    values[3, 1, 0] = values[4, :, 1] = NAN
    once = figures_of(sums_of(values, users, 0, 200, 7))
    twice = figures_of(sums_of(np.repeat(values, 2, axis=0), np.repeat(users, 2), 0, 200, 7))
    for name, mine, theirs in zip(Figures._fields, once, twice, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-12, err_msg=name)
    assert twice.n.tolist() == [[50, 49, 50], [49, 49, 50]]
    assert twice.n_both[1].tolist() == [49, 49, 50]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(1, 4))
def test_no_batch_ends_amid_the_rows_of_a_user(rows: list[int], size: int) -> None:
    users = np.repeat(np.arange(len(rows)), rows)
    table = pa.table({"slice": ["all"] * len(users), "user": users})
    cut = list(whole_users(table.to_batches(max_chunksize=size)))
    seen = [set(batch.column("user").to_pylist()) for batch in cut]
    assert pa.Table.from_batches(cut).equals(table)
    assert sum(map(len, seen)) == len(rows)


def test_weights_are_poisson_and_signs_are_fair() -> None:
    users = hashes(2_000)
    weights, signs = poisson_weights(users, 200, 3), random_signs(users, 200, 3)
    counts = np.bincount(weights.astype(int).ravel(), minlength=9)
    expected = stats.poisson(1).pmf(np.arange(6))
    np.testing.assert_allclose(counts[:6] / weights.size, expected, atol=4 * np.sqrt(0.25 / weights.size))
    assert abs(signs.mean()) < 4 / np.sqrt(signs.size)
    # Neither users nor replicates go together.
    assert np.abs(np.corrcoef(weights[:40]) - np.eye(40)).max() < 0.4
    assert np.abs(np.corrcoef(weights.T[:40]) - np.eye(40)).max() < 0.12
    assert (poisson_weights(users, 200, 4) != weights).mean() > 0.5
    assert (poisson_weights(users[:3], 7, 3) == weights[:3, :7]).all()


def test_the_interval_agrees_with_scipys_bootstrap() -> None:
    values = np.random.default_rng(5).beta(1, 4, 400)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = figures_of(sums_of(values[:, None, None], hashes(400), 0, 4000, 2))
    width = theirs.high - theirs.low
    assert [found.lo[0, 0], found.hi[0, 0]] == pytest.approx([theirs.low, theirs.high], abs=0.08 * width)


def test_the_paired_test_agrees_with_scipys() -> None:
    rng = np.random.default_rng(8)
    first = rng.random(60)
    second = np.clip(first + rng.normal(0.03, 0.12, 60), 0, 1)
    theirs = stats.permutation_test(
        (second - first,),
        np.mean,
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    found = figures_of(sums_of(np.stack([first, second], 1)[:, :, None], hashes(60), 0, 10_000, 2))
    assert found.p_value[1, 0] == pytest.approx(theirs, abs=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, held, clear = np.random.default_rng(11), 0, 0
    for trial in range(300):
        skill = rng.beta(1, 3, 120)
        first, second = rng.random(120) < skill, rng.random(120) < skill
        values = np.stack([first, second], 1)[:, :, None].astype(float)
        found = figures_of(sums_of(values, hashes(120, trial), 0, 400, trial))
        held += found.lo[0, 0] <= 0.25 <= found.hi[0, 0]
        clear += found.p_value[1, 0] < 0.05
    assert 0.90 <= held / 300 <= 0.98
    assert clear / 300 <= 0.09  # two models of the same skill are told apart in 5 % at most
