"""Which past item did most for each part of a score: the one without which the part would be least.

What removing an item does is worked out, not guessed: sums lose its share, the items before it move up by one place
in recency, means get another denominator, and the user's ALS factors are those of the normal equations without it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.dot import dot
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

    (m, parts of `EXPLAINED`) int64; -1 where no removal lowers it, and for `cf` under an explicit model. `raw`: the
    blend's weights on the features.
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
    # The history holds what a user likes; an explicit model has learned from the low ratings as well.
    if als.preference == "implicit" and (weights[at("als")] > 0 or weights[at("new_als")] > 0):
        preference = np.minimum(np.exp2(users.whole.astype(np.float64)) - 1.0, als.max_weight)
        turned, spread = items.turned
        _factor_causes(
            (user, item),
            (users.indptr, users.item, preference),
            users.factors,
            items.factors,
            turned,
            items.modelled,
            spread,
            (als.alpha, max(als.regularization, 1e-6)),
            found,
        )
    # An item that may be offered again is no reason for itself.
    entry = np.maximum(found, 0)
    itself = (found >= 0) & (users.item[entry] == item[:, None]) if len(users.item) else found >= 0
    found[itself] = -1
    return found


@compiled
def _list_causes(offers, history, lists, attributes, weights, step, out):  # type: ignore[no-untyped-def]
    of_user, of_item = offers
    indptr, hist_item, recent, whole = history
    start, list_item, list_value = lists
    slot = np.full(start.shape[1] - 1, -1, dtype=np.int64)
    said = np.zeros((0, 4, 0))
    block = -1
    left = np.empty((4, 2))
    for row in range(len(of_user)):
        user = of_user[row]
        first, last = indptr[user], indptr[user + 1]
        size = last - first
        if size == 0:
            continue
        if block < 0 or of_user[block] != user:
            # What each entry says for each of the user's offers, in one pass over the lists.
            block, end = row, row
            while end < len(of_user) and of_user[end] == user:
                slot[of_item[end]] = end - row
                end += 1
            said = np.zeros((end - row, 4, size))
            for e in range(size):
                past = hist_item[first + e]
                for source in range(3):
                    for at in range(start[source, past], start[source, past + 1]):
                        place = slot[list_item[at]]
                        if place >= 0:
                            said[place, source, e] = list_value[at]
                for offer in range(row, end):
                    said[offer - row, 3, e] = dot(attributes[past], attributes[of_item[offer]])
            for offer in range(row, end):
                slot[of_item[offer]] = -1
        values = said[row - block]
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
def _factor_causes(offers, history, user_factors, item_factors, turned, modelled, spread, model, out):  # type: ignore[no-untyped-def]
    """What u · v loses without each entry, by the formulas of Sherman, Morrison and Woodbury.

    The user's matrix is A = S + Vᵀ D V with S = YᵀY + λ m I, the history's factors V and their confidences less 1 in
    D. In the axes of YᵀY (`turned` factors, eigenvalues `spread`) S is diagonal, so with M = V S⁻¹ Vᵀ, K = D⁻¹ + M and
    the offers' factors C: P = C A⁻¹ Vᵀ = C S⁻¹ Vᵀ K⁻¹ D⁻¹ and Q = V A⁻¹ Vᵀ = M K⁻¹ D⁻¹. Without entry v of confidence
    1 + a an offer's c · u is less by p ((1 + a) − a u · v) / (1 − a q), and greater by about λ cᵀ A⁻¹ u, since the
    penalty grows with the number of entries.
    """
    of_user, of_item = offers
    indptr, hist_item, preference = history
    alpha, regularization = model
    rank = turned.shape[1]
    row = 0
    while row < len(of_user):
        user = of_user[row]
        end = row
        while end < len(of_user) and of_user[end] == user:
            end += 1
        size = 0
        for e in range(indptr[user], indptr[user + 1]):
            size += modelled[hist_item[e]] and alpha * preference[e] > 0
        if size == 0:
            row = end
            continue
        entry = np.empty(size, dtype=np.int64)
        more = np.empty(size)
        past = np.empty((size, rank), dtype=np.float32)
        scaled = np.empty((size, rank), dtype=np.float32)
        place = 0
        for e in range(indptr[user], indptr[user + 1]):
            if modelled[hist_item[e]] and alpha * preference[e] > 0:
                entry[place] = e
                more[place] = alpha * preference[e]
                for i in range(rank):
                    past[place, i] = turned[hist_item[e], i]
                    scaled[place, i] = past[place, i] / (spread[i] + regularization * size)
                place += 1
        inner = np.empty((size, size))
        for a in range(size):
            for b in range(a, size):
                inner[a, b] = dot(scaled[a], past[b])
                inner[b, a] = inner[a, b]
        root = inner.copy()
        for a in range(size):
            root[a, a] += 1.0 / more[a]
        _invert(root)
        weight = np.empty(size)
        column, solved = np.empty(size), np.empty(size)
        for a in range(size):
            q = 0.0
            for b in range(size):
                q += inner[a, b] * root[b, a]
            q /= more[a]
            s = float(dot(user_factors[user], item_factors[hist_item[entry[a]]]))
            weight[a] = ((1.0 + more[a]) - more[a] * s) / max(1.0 - more[a] * q, 1e-9)
        # A u = b, and b is a sum over the history: cᵀ A⁻¹ u follows from P by u = Σ target · A⁻¹ v.
        own = np.zeros(rank, dtype=np.float32)
        for a in range(size):
            for i in range(rank):
                own[i] += np.float32(1.0 + more[a]) * scaled[a, i]
        bend = np.empty(size)
        for a in range(size):
            bend[a] = float(dot(past[a], own))
        _times(root, bend, solved)
        for a in range(size):
            share = np.float32(solved[a])
            for i in range(rank):
                own[i] -= share * scaled[a, i]  # so that it ends as u in the turned axes
        for i in range(rank):
            own[i] /= np.float32(spread[i] + regularization * size)
        for a in range(size):
            bend[a] = float(dot(past[a], own))
        _times(root, bend, solved)
        for a in range(size):
            bend[a] = solved[a]
        for offer in range(row, end):
            aimed = turned[of_item[offer]]
            for a in range(size):
                column[a] = float(dot(scaled[a], aimed))
            relief = float(dot(own, aimed))
            for a in range(size):
                relief -= column[a] * bend[a]
            _times(root, column, solved)
            most = 0.0
            for a in range(size):
                lost = solved[a] / more[a] * weight[a] - regularization * relief
                if lost > most and lost > 1e-12:
                    most = lost
                    out[offer, 0] = entry[a]
        row = end


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
            if i != k:
                factor = matrix[i, k]
                matrix[i, k] = 0.0
                for j in range(size):
                    matrix[i, j] -= factor * matrix[k, j]


@compiled
def _times(matrix, vector, out):  # type: ignore[no-untyped-def]
    """`out` = matrix · vector of a symmetric matrix, row by row, which the compiler can make vectors of."""
    out[:] = 0.0
    for b in range(len(vector)):
        value = vector[b]
        for a in range(len(vector)):
            out[a] += value * matrix[b, a]
