"""Which past item did most for each part of a score: the one without which the part would be least.

What removing an item does is worked out, not guessed: sums lose its share, the items before it move up by one place
in recency, means get another denominator, and the user's ALS factors are those of the normal equations without it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.recommend.items import ItemSide
from vizrec_spark.recommend.sources import at
from vizrec_spark.recommend.users import Users

EXPLAINED = ("cf", "cooccurrence", "visual", "attributes")
"""Parts that the history is behind; the columns of `causes`."""


def causes(
    users: Users,
    items: ItemSide,
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    raw: NDArray[np.float64],
    half_life: float,
    als: AlsConfig,
) -> NDArray[np.int64]:
    """For offers (user[i], item[i]), ordered by user: the history entry whose removal lowers each part most.

    (m, parts of `EXPLAINED`) int64; -1 where no removal lowers it. `raw`: the blend's weights on the features.
    """
    found = np.full((len(user), len(EXPLAINED)), -1, dtype=np.int64)
    weights = raw.astype(np.float64)
    _list_causes(
        (user, item),
        (users.indptr, users.item, users.recent.astype(np.float64), users.whole.astype(np.float64)),
        (items.lists.start, items.lists.item, items.lists.value),
        items.attributes,
        weights[at("ridge_recent") : at("attributes_whole") + 1],
        float(np.exp2(1.0 / half_life)),
        found,
    )
    if weights[at("als")] > 0 or weights[at("new_als")] > 0:
        implicit = als.preference == "implicit"
        preference = np.exp2(users.whole.astype(np.float64)) - 1.0
        warm = items.factors[items.has_factors & ~items.is_new].astype(np.float64)
        shared = warm.T @ warm if implicit else np.zeros((items.factors.shape[1],) * 2)
        value = np.minimum(preference, als.max_weight) if implicit else preference
        _factor_causes(
            (user, item),
            (users.indptr, users.item, value),
            users.factors.astype(np.float64),
            items.factors.astype(np.float64),
            items.has_factors & ~items.is_new,
            shared,
            (als.alpha, max(als.regularization, 1e-6), implicit),
            found,
        )
    return found


@compiled
def _value(lists, source, of, to):  # type: ignore[no-untyped-def]
    """What item `of` says for item `to` under a source; its entries are in order of position."""
    start, item, value = lists
    low, high = start[source, of], start[source, of + 1]
    end = high
    while low < high:
        middle = (low + high) // 2
        if item[middle] < to:
            low = middle + 1
        else:
            high = middle
    if low < end and item[low] == to:
        return np.float64(value[low])
    return 0.0


@compiled
def _list_causes(offers, history, lists, attributes, weights, step, out):  # type: ignore[no-untyped-def]
    of_user, of_item = offers
    indptr, hist_item, recent, whole = history
    width = attributes.shape[1]
    for row in range(len(of_user)):
        user, target = of_user[row], of_item[row]
        first, last = indptr[user], indptr[user + 1]
        size = last - first
        if size == 0:
            continue
        values = np.zeros((4, size))
        for e in range(size):
            past = hist_item[first + e]
            for source in range(3):
                values[source, e] = _value(lists, source, past, target)
            dot = 0.0
            for j in range(width):
                dot += attributes[past, j] * attributes[target, j]
            values[3, e] = dot
        now, ever = recent[first:last], whole[first:last]
        sums, later = np.zeros((4, 2)), np.zeros(4)
        total_now, total_ever = 0.0, 0.0
        for e in range(size):
            total_now += now[e]
            total_ever += ever[e]
            for source in range(4):
                sums[source, 0] += now[e] * values[source, e]
                sums[source, 1] += ever[e] * values[source, e]
        # The largest likeness, and the largest of what would move up, counted from either end.
        before, after = np.zeros(size + 1), np.zeros(size + 1)
        for e in range(size):
            before[e + 1] = max(before[e], now[e] * values[2, e])
        for e in range(size - 1, -1, -1):
            after[e] = max(after[e + 1], now[e] * values[2, e])
        drop = np.zeros(3)
        later_now = 0.0
        # From the oldest on, so that what would move up is known: `later` sums what stands behind entry e.
        for e in range(size - 1, -1, -1):
            left = np.empty((4, 2))
            for source in range(4):
                left[source, 0] = sums[source, 0] - now[e] * values[source, e] + (step - 1.0) * later[source]
                left[source, 1] = sums[source, 1] - ever[e] * values[source, e]
            left_now = total_now - now[e] + (step - 1.0) * later_now
            left_ever = total_ever - ever[e]
            lost_cooccurrence = (
                weights[0] * (sums[0, 0] - left[0, 0])
                + weights[1] * (sums[0, 1] - left[0, 1])
                + weights[2] * (sums[1, 0] - left[1, 0])
            )
            lost_visual = weights[3] * (sums[2, 0] / total_now) + weights[4] * (sums[2, 1] / total_ever)
            lost_attributes = weights[6] * (sums[3, 0] / total_now) + weights[7] * (sums[3, 1] / total_ever)
            if left_now > 0 and size > 1:
                lost_visual -= weights[3] * (left[2, 0] / left_now) + weights[4] * (left[2, 1] / left_ever)
                lost_attributes -= weights[6] * (left[3, 0] / left_now) + weights[7] * (
                    left[3, 1] / left_ever
                )
            lost_visual += weights[5] * (before[size] - max(before[e], step * after[e + 1]))
            lost = (lost_cooccurrence, lost_visual, lost_attributes)
            for part in range(3):
                # Newer entries come later in this loop and win ties.
                if lost[part] > 1e-12 and lost[part] >= drop[part]:
                    drop[part] = lost[part]
                    out[row, part + 1] = first + e
            later_now += now[e]
            for source in range(4):
                later[source] += now[e] * values[source, e]


@compiled
def _factor_causes(offers, history, user_factors, item_factors, modelled, shared, model, out):  # type: ignore[no-untyped-def]
    """What u · v loses without each entry, by the Sherman-Morrison formula.

    With A the user's matrix, u its factors, v the entry's, c the offer's, a its confidence less 1, p = cᵀ A⁻¹ v and
    q = vᵀ A⁻¹ v: without the entry c · u is less by p ((1 + a) − a u · v) / (1 − a q), and greater by about
    λ cᵀ A⁻¹ u, since the penalty grows with the number of entries.
    """
    of_user, of_item = offers
    indptr, hist_item, preference = history
    alpha, regularization, implicit = model
    rank = user_factors.shape[1]
    held = -1
    inverse = np.zeros((rank, rank))
    weight = np.zeros(0)
    aimed = np.zeros(rank)
    for row in range(len(of_user)):
        user, target = of_user[row], of_item[row]
        first, last = indptr[user], indptr[user + 1]
        if first == last:
            continue
        if user != held:
            held = user
            inverse[:] = shared
            counted = 0
            for e in range(first, last):
                if modelled[hist_item[e]]:
                    counted += 1
                    factor = item_factors[hist_item[e]]
                    a = alpha * preference[e] if implicit else 1.0
                    for i in range(rank):
                        scaled = a * factor[i]
                        for j in range(rank):
                            inverse[i, j] += scaled * factor[j]
            for i in range(rank):
                inverse[i, i] += regularization * max(counted, 1)
            _invert(inverse)
            # What of an entry's effect does not depend on what is offered.
            weight = np.zeros(last - first)
            for e in range(first, last):
                if not modelled[hist_item[e]]:
                    continue
                factor = item_factors[hist_item[e]]
                q, s = 0.0, 0.0
                for i in range(rank):
                    turned = 0.0
                    for j in range(rank):
                        turned += inverse[i, j] * factor[j]
                    q += turned * factor[i]
                    s += user_factors[user, i] * factor[i]
                if implicit:
                    a = alpha * preference[e]
                    weight[e - first] = ((1.0 + a) - a * s) / max(1.0 - a * q, 1e-9)
                else:
                    weight[e - first] = (preference[e] - s) / max(1.0 - q, 1e-9)
        relief = 0.0
        for i in range(rank):
            aimed[i] = 0.0
            for j in range(rank):
                aimed[i] += inverse[i, j] * item_factors[target, j]
            relief += aimed[i] * user_factors[user, i]
        most = 0.0
        for e in range(first, last):
            if weight[e - first] == 0.0:
                continue
            p = 0.0
            for i in range(rank):
                p += aimed[i] * item_factors[hist_item[e], i]
            lost = p * weight[e - first] - regularization * relief
            if lost > most and lost > 1e-12:
                most = lost
                out[row, 0] = e


@compiled
def _invert(matrix):  # type: ignore[no-untyped-def]
    """The inverse of a symmetric positive definite matrix in place (Gauss-Jordan, which needs no pivoting there)."""
    size = len(matrix)
    for k in range(size):
        pivot = 1.0 / matrix[k, k]
        matrix[k, k] = 1.0
        for j in range(size):
            matrix[k, j] *= pivot
        for i in range(size):
            if i == k:
                continue
            factor = matrix[i, k]
            matrix[i, k] = 0.0
            for j in range(size):
                matrix[i, j] -= factor * matrix[k, j]
