"""What is learned before and beside Spark: windows, neighbours, content, pairs, anchors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizrec_spark.config.models import AlsConfig, RecommendConfig
from vizrec_spark.kernels.block_ridge import SCALES, Grams, fit_block_ridge
from vizrec_spark.kernels.components import components
from vizrec_spark.kernels.cooccurrence import cooccurrences, neighbourhoods
from vizrec_spark.kernels.fold_in import fold_in_implicit, gram
from vizrec_spark.recommend.assemble import fixed_side, item_side
from vizrec_spark.recommend.attributes import (
    attribute_block,
    attribute_likeness,
    category_block,
    number_block,
)
from vizrec_spark.recommend.content import Content, nearest_by_attributes
from vizrec_spark.recommend.describe import Candidates
from vizrec_spark.recommend.duplicates import same_values
from vizrec_spark.recommend.fit import Pairs, clustered_errors, sample_pairs
from vizrec_spark.recommend.items import Entries
from vizrec_spark.recommend.learn import Judges, anchored, best_of, open_window
from vizrec_spark.recommend.log import Log, validation_window
from vizrec_spark.recommend.sources import FEATURES, at
from vizrec_spark.recommend.window_als import window_als


def rows(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    user, item = np.nonzero(dense)
    return np.concatenate([[0], np.cumsum(np.bincount(user, minlength=len(dense)))]), item


@given(seed=st.integers(0, 10_000), n=st.integers(2, 12), regularization=st.sampled_from([0.5, 10.0]))
def test_with_all_items_as_neighbours_the_ridge_is_ease(seed: int, n: int, regularization: float) -> None:
    dense = (np.random.default_rng(seed).random((30, n)) < 0.4).astype(float)
    counts = cooccurrences(*rows(dense), n)
    np.testing.assert_array_equal(counts, dense.T @ dense)
    near = neighbourhoods(counts, n - 1, regularization)
    for i in range(n):
        others = near.items[i][near.items[i] >= 0]
        assert set(others) == {j for j in range(n) if j != i and counts[i, j] > 0}
        # EASE on the items that the neighbours and the item are: column i of -P / diag(P).
        kept = np.append(others, i)
        gram = (dense.T @ dense)[np.ix_(kept, kept)] + regularization * np.eye(len(kept))
        inverse = np.linalg.inv(gram)
        ease = -inverse[:-1, -1] / inverse[-1, -1]
        np.testing.assert_allclose(near.ridge[i][: len(others)], ease, atol=1e-4)
        lengths = np.sqrt(np.diag(counts)[others] * counts[i, i])
        np.testing.assert_allclose(near.cosine[i][: len(others)], counts[i, others] / lengths, rtol=1e-5)
    assert (np.diff(near.cosine, axis=1) <= 1e-7).all()


@given(seed=st.integers(0, 10_000))
def test_what_is_left_out_is_what_a_model_without_the_row_predicts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=(25, 3)), rng.normal(size=(25, 2))]
    target = blocks[0] @ rng.normal(size=(3, 2)) + 0.3 * rng.normal(size=(25, 2))
    model = fit_block_ridge(blocks, target)
    for row in (0, 11):
        rest = np.arange(25) != row
        # The same scales and centring, one row less; the mean is fitted anew, as an unpenalised column.
        design = np.hstack(
            [np.sqrt(s) * (b - m) for s, b, m in zip(model.scales, blocks, model.means, strict=True)]
        )
        design = np.hstack([design, np.ones((25, 1))])
        penalty = np.diag([*np.ones(design.shape[1] - 1), 1e-9])
        fitted = np.linalg.solve(design[rest].T @ design[rest] + penalty, design[rest].T @ target[rest])
        np.testing.assert_allclose(model.left_out[row], design[row] @ fitted, atol=1e-6)


@given(seed=st.integers(0, 10_000), scales=st.tuples(*[st.sampled_from(SCALES)] * 3), b=st.integers(0, 2))
def test_all_scales_of_a_block_at_once_are_each_of_them(seed: int, scales: tuple[float, ...], b: int) -> None:
    rng = np.random.default_rng(seed)
    # As many columns as rows, one of them twice.
    blocks = [rng.normal(size=(12, 4)), rng.normal(size=(12, 1)), rng.normal(size=(12, 7))]
    blocks[2][:, 0] = blocks[1][:, 0]
    target = rng.normal(size=(12, 2))
    grams = Grams([block - block.mean(axis=0) for block in blocks])
    slow = [
        np.square(grams.left_out_errors([*scales[:b], scale, *scales[b + 1 :]], target)).sum()
        for scale in SCALES
    ]
    np.testing.assert_allclose(grams.errors_by_scale(scales, b, target), slow, rtol=1e-6)


def test_a_block_of_noise_does_not_hurt_and_each_has_its_own_scale() -> None:
    rng = np.random.default_rng(5)
    tells, noise = rng.normal(size=(200, 3)), rng.normal(size=(200, 60))
    target = tells @ rng.normal(size=(3, 2)) + 0.5 * rng.normal(size=(200, 2))
    alone, both = fit_block_ridge([tells], target), fit_block_ridge([tells, noise], target)
    assert both.error <= alone.error + 1e-9
    assert both.scales[1] < 0.1 * both.scales[0]
    joined = fit_block_ridge([np.hstack([tells, noise])], target)
    assert both.error < joined.error


def test_a_window_holds_the_last_likes_of_those_who_have_enough() -> None:
    user = np.repeat([0, 1], [8, 3])
    log = Log(user, np.arange(11), np.ones(11), np.ones(11), np.arange(11.0), np.arange(11.0), 2, 11)
    train, held = validation_window(log, 0.25)
    assert np.flatnonzero(held).tolist() == [6, 7]
    assert train.item.tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 10]
    disliked = log._replace(weight=np.where(np.arange(11) == 7, 0.0, 1.0))
    train, held = validation_window(disliked, 0.25)
    assert np.flatnonzero(held).tolist() == [5, 6]
    assert 7 not in train.item  # that they would not like it, nobody knew before the window
    turned = disliked._replace(first=np.where(disliked.item == 7, 0.5, disliked.first))
    assert 7 not in validation_window(turned, 0.25).train.item


def test_an_item_met_again_in_the_window_is_no_new_choice() -> None:
    times = np.arange(8.0)
    log = Log(np.zeros(8, int), np.arange(8), np.ones(8), np.ones(8), times, times, 1, 8)
    again = log._replace(time=np.where(log.item == 2, 99.0, log.time))
    train, held = validation_window(again, 0.25)
    assert np.flatnonzero(held).tolist() == [6, 7]
    assert train.time.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_window_als_tells_two_camps_apart() -> None:
    user, item = np.nonzero(
        np.kron(np.eye(2), np.ones((10, 6))) * (np.random.default_rng(1).random((20, 12)) < 0.7)
    )
    ones, zeros = np.ones(len(user)), np.zeros(len(user))
    log = Log(user, item, ones, ones, zeros, zeros, 20, 12)
    als = AlsConfig(rank=4, iterations=8)
    users, items = window_als(log, als)
    # Users are solved last, as by MLlib.
    indptr = np.searchsorted(user, np.arange(21))
    penalty = {"regularization": als.regularization, "alpha": als.alpha}
    np.testing.assert_array_equal(users, fold_in_implicit(items, gram(items), indptr, item, ones, **penalty))
    score = users @ items.T
    assert score[:10, :6].mean() > score[:10, 6:].mean() + 0.5
    assert score[10:, 6:].mean() > score[10:, :6].mean() + 0.5


def plain_content(n: int) -> Content:
    """n items of three kinds, without pictures."""
    kinds = category_block([[f"kind{i % 3}"] for i in range(n)])
    assert kinds is not None
    ids = np.array([f"i{i:03d}" for i in range(n)], dtype=object)
    nothing = np.full(n, -1, dtype=np.int64)
    return Content(
        ids,
        ids,
        [kinds],
        np.full((n, 1), np.nan, dtype=np.float32),
        Entries.none(),
        np.arange(n) * 86_400.0,
        np.arange(n),
        nothing,
        np.ones(n, dtype=bool),
        np.zeros(n, dtype=np.float32),
    )


def log_of_two_camps(n: int, n_users: int) -> Log:
    rng = np.random.default_rng(4)
    user, item = np.nonzero(rng.random((n_users, n)) < 0.3)
    ones = np.ones(len(user))
    times = rng.permutation(len(user)).astype(float)
    return Log(user, item, ones, ones, times, times, n_users, n)


def test_what_describes_a_candidate_has_not_seen_what_is_held_out() -> None:
    """Whatever users chose in the window, models, counts and the item side of the training window are the same."""
    n, n_users = 30, 60
    log, content = log_of_two_camps(n, n_users), plain_content(30)
    config = RecommendConfig()
    als = AlsConfig(rank=3, iterations=2)
    _, held = validation_window(log, config.learn.validation_share)
    rng = np.random.default_rng(9)
    other = log._replace(
        item=np.where(held, rng.integers(0, n, len(held)), log.item),
        weight=np.where(held, 7.0, log.weight),
        preference=np.where(held, 7.0, log.preference),
    )
    windows = [open_window(each, content, config, als) for each in (log, other)]
    assert windows[0] is not None and windows[1] is not None
    assert (windows[0].chosen_item != windows[1].chosen_item).any()
    for name in ("user_factors", "item_factors", "predicted", "modelled", "counts"):
        np.testing.assert_array_equal(getattr(windows[0], name), getattr(windows[1], name), err_msg=name)
    train = windows[0].train
    assert len(train.user) == int((~held).sum()) and not held[np.isin(log.time, train.time)].any()
    sides = [
        item_side(
            content,
            fixed_side(content),
            w.train,
            {},
            w.item_factors,
            w.item_factors.any(axis=1),
            w.predicted,
            30.0,
        )
        for w in windows
    ]
    np.testing.assert_array_equal(sides[0].standing, sides[1].standing)
    np.testing.assert_array_equal(sides[0].people, np.bincount(train.item, minlength=n))


def test_only_what_nobody_has_met_is_new() -> None:
    n = 30
    log, content = log_of_two_camps(n, 200), plain_content(n)
    log = log.where(log.item != 0)
    disliked = (log.item == 6) | (log.item == 8)
    log = log._replace(weight=np.where(disliked, 0.0, log.weight))
    # One clock runs ahead by seventy years.
    log = log._replace(time=np.concatenate([log.time[:-1], [log.time.max() + 70 * 365 * 86_400.0]]))
    rng = np.random.default_rng(1)
    factors, predicted = rng.random((n, 3)).astype(np.float32), rng.random((n, 3))
    has = ~np.isin(
        np.arange(n), [0, 1, 6]
    )  # nobody has met item 0; items 1 and 6, which is disliked, are in no model
    hidden = np.arange(n) == 2
    entries = {"cosine": Entries(np.array([3, 4]), np.array([2, 5]), np.ones(2, dtype=np.float32))}
    side = item_side(content, fixed_side(content), log, entries, factors, has, predicted, 30.0, hidden)
    assert np.flatnonzero(side.is_new).tolist() == [0, 2]
    assert np.flatnonzero(side.standing[:, 2] == 0).tolist() == [0, 2]  # age counts for no new item
    without = [0, 1, 2, 6]
    assert np.flatnonzero(~side.modelled).tolist() == without and side.has_factors.all()
    np.testing.assert_allclose(side.factors[without], predicted[without], rtol=1e-6)
    others = np.setdiff1d(np.arange(n), without)
    np.testing.assert_array_equal(side.factors[others], factors[others])
    assert side.people[2] == 0 and side.standing[2, 0] == 0 and side.people[1] > 0
    # What the history says for the one shown as new is left out.
    assert side.lists.under("cosine").to.tolist() == [5]
    last = np.quantile(log.time, 0.999, method="inverted_cdf")
    assert last < log.time.max() / 2
    trend = sum(2.0 ** (-max(last - t, 0.0) / 86_400 / 30) for t in log.time[log.item == 7])
    assert side.standing[7, 1] == pytest.approx(np.log1p(trend), rel=1e-5)


def test_without_attributes_or_items_nothing_is_near() -> None:
    for likeness in (np.zeros((5, 1), dtype=np.float32), np.zeros((0, 4), dtype=np.float32)):
        assert [len(column) for column in nearest_by_attributes(likeness)] == [0, 0, 0]


def test_attributes_become_blocks() -> None:
    years = [str(1950 + i) for i in range(40)]
    block = attribute_block("year", [*years, None, "?"])
    assert block is not None
    inner = block.values @ block.values.T
    assert inner[0, 1] > inner[0, 10] > inner[0, 39] - 1e-9
    assert block.present.tolist() == [True] * 40 + [False] * 2
    assert attribute_block("id", [f"x{i}" for i in range(50)]) is None
    assert attribute_block("same", ["a"] * 5) is None
    # Numbers of an id count nothing; those of a measure may be as many, and those of an id that is shared say who.
    numbers = [str(700_000 + 13 * i) for i in range(50)]
    for name in ("tmdbId", "movie_id", "ID", "EAN", "product.sku"):
        assert attribute_block(name, numbers) is None
    for name in ("grams", "paid", "keyboard"):
        assert attribute_block(name, numbers) is not None
    assert attribute_block("brand_id", [*numbers, *numbers]) is not None
    assert number_block("price", np.full(4, np.nan)) is None
    kinds = category_block([["a", "b"], ["a"], [], None, ["c"]])
    assert kinds is not None and kinds.values.shape == (5, 3)
    likeness = attribute_likeness([kinds], 5)
    cosine = likeness @ likeness.T
    assert cosine[0, 1] > 0 > cosine[1, 4]
    assert (likeness[2:4] == 0).all()


def test_near_duplicates_form_groups() -> None:
    groups = components(6, np.array([4, 1, 0]), np.array([1, 3, 5]))
    assert groups.tolist() == [0, 1, 2, 1, 1, 0]
    left, right = same_values(np.array(["a", None, "b", "a", "", "", "a"], dtype=object))
    assert components(7, left, right).tolist() == [0, 1, 2, 0, 4, 5, 0]


def described(n_users: int, each: int, rng: np.random.Generator) -> Candidates:
    m = n_users * each
    return Candidates(
        np.arange(n_users + 1) * each,
        np.tile(np.arange(each), n_users).astype(np.int32),
        np.zeros(m, dtype=np.uint8),
        rng.normal(size=(m, len(FEATURES))).astype(np.float32),
    )


def test_pairs_are_of_one_user_and_users_count_alike() -> None:
    rng = np.random.default_rng(2)
    candidates = described(4, 6, rng)
    candidates.features[:, 0] = candidates.user  # cancels within a user
    chosen = rng.random(24) < 0.3
    chosen[:6] = True  # nothing to compare with
    wanted = np.array([True, True, True, False])
    pairs = sample_pairs(candidates, chosen, np.ones(len(FEATURES)), wanted, 5, 1)
    assert (pairs.difference[:, 0] == 0).all()
    assert 0 not in pairs.user and 3 not in pairs.user
    for user in np.unique(pairs.user):
        assert pairs.weight[pairs.user == user].sum() == pytest.approx(1.0)


def test_errors_are_those_of_users_not_of_pairs() -> None:
    """Ten copies of each pair say nothing new."""
    rng = np.random.default_rng(3)
    x, user = rng.normal(size=(200, len(FEATURES))), np.repeat(np.arange(50), 4)
    weights = np.zeros(len(FEATURES))
    weights[[1, 4]] = 0.5
    once = clustered_errors(Pairs(x, user, np.full(200, 0.25)), weights)
    copied = Pairs(np.repeat(x, 10, axis=0), np.repeat(user, 10), np.full(2000, 0.025))
    np.testing.assert_allclose(clustered_errors(copied, weights), once)
    assert (once[[1, 4]] > 0).all() and np.count_nonzero(once) == 2


def test_an_anchor_keeps_size_and_what_weighs_new_items() -> None:
    weights = np.arange(len(FEATURES), dtype=float)
    half = anchored(weights, "als", 0.5)
    new = [at("new"), at("new_als")]
    assert half[new].tolist() == weights[new].tolist()
    assert np.delete(half, new).sum() == pytest.approx(np.delete(weights, new).sum())
    np.testing.assert_allclose(anchored(weights, "als", 1.0), weights)
    alone = anchored(weights, "trend", 0.0)
    assert np.flatnonzero(np.delete(alone, new)).size == 1


def test_some_judges_judge_as_they_do_among_all() -> None:
    rng = np.random.default_rng(6)
    candidates = described(9, 15, rng)
    hit, relevant = rng.random(9 * 15) < 0.2, rng.integers(1, 6, 9)
    judges = Judges.on(candidates, hit, relevant)
    some, raw = rng.random(9) < 0.5, rng.normal(size=len(FEATURES))
    np.testing.assert_array_equal(judges.of(some).ndcg(raw), judges.ndcg(raw)[some])
    # The best ranking there is has 1 where all that is relevant is among the candidates.
    candidates.features[:, 0] = hit
    full = Judges.on(candidates, hit, np.maximum(hit.reshape(9, 15).sum(axis=1), 1))
    ideal = np.zeros(len(FEATURES))
    ideal[0] = 1.0
    np.testing.assert_allclose(full.ndcg(ideal), hit.reshape(9, 15).any(axis=1))


def test_the_best_part_is_used_alone_where_it_ranks_best() -> None:
    def judged(*means: float) -> dict[tuple[float, float], np.ndarray]:
        return {(s, o): np.full(4, m) for (s, o), m in zip(grid, means, strict=True)}

    grid = [(0.0, -1.0), (0.0, 0.0), (0.5, 0.0), (1.0, 0.0)]
    assert best_of(judged(0.2, 0.3, 0.2, 0.25)) == (0.0, 0.0)
    assert best_of(judged(0.31, 0.3, 0.2, 0.25)) == (0.0, -1.0)
    assert best_of(judged(0.2, 0.3, 0.3, 0.3)) == (1.0, 0.0)  # nothing speaks against what was learned
