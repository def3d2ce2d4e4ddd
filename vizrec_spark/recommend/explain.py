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

    (m, parts of `EXPLAINED`) int64; -1 where no removal lowers it, and for `cf` under a model whose preferences are not
    the summed weights of a history: an explicit one, or one with `als.events`. `raw`: the blend's weights on the
    features.
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
    of_factors = (weights[at("als")], weights[at("new_als")])
    # The history holds what a user likes; an explicit model has learned from the low ratings as well.
    if als.preference == "implicit" and not als.events and any(of_factors):
        preference = np.minimum(np.exp2(users.whole.astype(np.float64)) - 1.0, als.max_weight)
        turned, spread = items.turned
        _factor_causes(
            (user, item),
            (users.indptr, users.item, preference),
            users.factors,
            items.factors,
            turned,
            (items.modelled, items.is_new),
            spread,
            (als.alpha, max(als.regularization, 1e-6)),
            of_factors,
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
    together = (weights[0], weights[1], weights[2])
    visual, alike = (weights[3], weights[4], weights[5], weights[6]), (weights[7], weights[8], 0.0, 0.0)
    slot = np.full(len(attributes), -1, dtype=np.int32)
    row = 0
    while row < len(of_user):
        end = _end_of(of_user, row)
        first, last = indptr[of_user[row]], indptr[of_user[row] + 1]
        size = last - first
        if size == 0:
            row = end
            continue
        said = _said(hist_item[first:last], of_item[row:end], lists, attributes, slot)
        now, ever = recent[first:last], whole[first:last]
        totals = (now.sum(), ever.sum())
        # One over what a mean is divided by without each entry; 0 where nothing is left.
        over_now, over_ever = np.zeros(size), np.zeros(size)
        older = 0.0
        for e in range(size - 1, -1, -1):
            left = totals[0] - now[e] + (step - 1.0) * older
            if left > 0 and size > 1:
                over_now[e], over_ever[e] = 1.0 / left, 1.0 / (totals[1] - ever[e])
            older += now[e]
        newer = np.empty((2, size))
        for offer in range(row, end):
            ridge, cosine = said[offer - row, 0], said[offer - row, 1]
            looks, likeness = said[offer - row, 2], said[offer - row, 3]
            causes = (
                _sum_cause(ridge, cosine, now, ever, together, step),
                _mean_cause(looks, now, ever, totals, over_now, over_ever, visual, step, newer),
                _mean_cause(likeness, now, ever, totals, over_now, over_ever, alike, step, newer),
            )
            for part in range(3):
                if causes[part] >= 0:
                    out[offer, part + 1] = first + causes[part]
        row = end


@compiled
def _end_of(of_user, row):  # type: ignore[no-untyped-def]
    """The row behind the last offer to the user of `row`."""
    end = row
    while end < len(of_user) and of_user[end] == of_user[row]:
        end += 1
    return end


@compiled
def _said(past, offered, lists, attributes, slot):  # type: ignore[no-untyped-def]
    """What each item of a history says for each offer: (offers, lists and attributes, history) float64.

    `slot` (items): scratch of -1, and left so.
    """
    start, list_item, list_value = lists
    said = np.zeros((len(offered), 4, len(past)))
    for place in range(len(offered)):
        slot[offered[place]] = place
    for e in range(len(past)):
        item = past[e]
        for p in range(start[item, 0], start[item, 3]):
            place = slot[list_item[p]]
            if place >= 0:
                said[place, (p >= start[item, 1]) + (p >= start[item, 2]), e] = list_value[p]
        for place in range(len(offered)):
            said[place, 3, e] = dot(attributes[item], attributes[offered[place]])
    for place in range(len(offered)):
        slot[offered[place]] = -1
    return said


@compiled
def _sum_cause(ridge, cosine, now, ever, weights, step):  # type: ignore[no-untyped-def]
    """The entry without which what co-consumption says would be least; -1 where none lowers it."""
    found, drop = -1, 0.0
    older = 0.0
    # From the oldest on, so that what would move up is known; newer entries come later and win ties.
    for e in range(len(now) - 1, -1, -1):
        recent = now[e] * (weights[0] * ridge[e] + weights[2] * cosine[e])
        lost = recent + weights[1] * (ever[e] * ridge[e]) - (step - 1.0) * older
        if lost > 1e-12 and lost >= drop:
            found, drop = e, lost
        older += recent
    return found


@compiled
def _mean_cause(values, now, ever, totals, over_now, over_ever, weights, step, newer):  # type: ignore[no-untyped-def]
    """The entry without which the means of `values` and their largest would be least; -1 where none lowers them.

    `newer` (2, entries): scratch.
    """
    sum_now, sum_ever, largest, largest_ever = 0.0, 0.0, 0.0, 0.0
    for e in range(len(now)):
        newer[0, e], newer[1, e] = largest, largest_ever
        sum_now += now[e] * values[e]
        sum_ever += ever[e] * values[e]
        largest = max(largest, now[e] * values[e])
        largest_ever = max(largest_ever, values[e])
    whole = weights[0] * (sum_now / totals[0]) + weights[1] * (sum_ever / totals[1])
    whole += weights[2] * largest + weights[3] * largest_ever
    found, drop = -1, 0.0
    older, largest_older, largest_ever_older = 0.0, 0.0, 0.0
    for e in range(len(now) - 1, -1, -1):
        recent = now[e] * values[e]
        left_now = (sum_now - recent + (step - 1.0) * older) * over_now[e]
        left_ever = (sum_ever - ever[e] * values[e]) * over_ever[e]
        most = max(newer[0, e], step * largest_older)
        most_ever = max(newer[1, e], largest_ever_older)
        left = weights[0] * left_now + weights[1] * left_ever + weights[2] * most + weights[3] * most_ever
        lost = whole - left
        if lost > 1e-12 and lost >= drop:
            found, drop = e, lost
        older += recent
        largest_older = max(largest_older, recent)
        largest_ever_older = max(largest_ever_older, values[e])
    return found


@compiled
def _factor_causes(offers, history, user_factors, item_factors, turned, kinds, spread, model, weights, out):  # type: ignore[no-untyped-def]
    """What weight · (u · v) loses without each entry, by the formulas of Sherman, Morrison and Woodbury.

    Without any one of m entries the penalty is λ (m − 1), so all is worked out with that: A = S + Vᵀ D V with
    S = YᵀY + λ (m − 1) I, the history's factors V and their confidences less 1 in D, and w = A⁻¹ b for b the sum of
    (1 + a) v over all entries. In the axes of YᵀY (`turned` factors, eigenvalues `spread`) S is diagonal, so with
    M = V S⁻¹ Vᵀ, K = D⁻¹ + M and the offers' factors C: P = C A⁻¹ Vᵀ = C S⁻¹ Vᵀ K⁻¹ D⁻¹ and Q = V A⁻¹ Vᵀ =
    M K⁻¹ D⁻¹ = D⁻¹ − D⁻¹ K⁻¹ D⁻¹. Without entry v of confidence 1 + a an offer's product is
    c · w − p ((1 + a) − a w · v) / (1 − a q), where 1 − a q is the entry's number on the diagonal of K⁻¹ over a.
    """
    of_user, of_item = offers
    indptr, hist_item, preference = history
    modelled, is_new = kinds
    alpha, regularization = model
    rank = turned.shape[1]
    over = np.empty(rank, dtype=np.float32)
    row = 0
    while row < len(of_user):
        user = of_user[row]
        end = _end_of(of_user, row)
        size = 0
        for e in range(indptr[user], indptr[user + 1]):
            size += modelled[hist_item[e]] and alpha * preference[e] > 0
        if size == 0:
            row = end
            continue
        for i in range(rank):
            # Without its only entry nothing is left of a user, whatever the penalty.
            over[i] = np.float32(1.0 / (spread[i] + regularization * max(size - 1, 1)))
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
                    scaled[place, i] = past[place, i] * over[i]
                place += 1
        root = np.empty((size, size))
        for a in range(size):
            for b in range(a + 1):
                root[a, b] = dot(scaled[a], past[b])
            root[a, a] += 1.0 / more[a]
        _invert(root)
        weight = np.empty(size)
        column, solved = np.empty(size), np.empty(size)
        own = np.zeros(rank, dtype=np.float32)
        for a in range(size):
            for i in range(rank):
                own[i] += np.float32(1.0 + more[a]) * scaled[a, i]
        for a in range(size):
            column[a] = float(dot(past[a], own))
        _times(root, column, solved)
        for a in range(size):
            share = np.float32(solved[a])
            for i in range(rank):
                own[i] -= share * scaled[a, i]  # so that it ends as w in the turned axes
        for a in range(size):
            left = (1.0 + more[a]) - more[a] * float(dot(past[a], own))
            weight[a] = left / max(root[a, a] / more[a], 1e-9)
        for offer in range(row, end):
            aimed = turned[of_item[offer]]
            whole = float(dot(user_factors[user], item_factors[of_item[offer]]))
            for a in range(size):
                column[a] = float(dot(scaled[a], aimed))
            relief = float(dot(own, aimed)) - whole
            _times(root, column, solved)
            most = 0.0
            scale = weights[1] if is_new[of_item[offer]] else weights[0]
            for a in range(size):
                lost = whole if size == 1 else solved[a] / more[a] * weight[a] - relief
                if scale * lost > most and scale * lost > 1e-12:
                    most = scale * lost
                    out[offer, 0] = entry[a]
        row = end


@compiled
def _invert(matrix):  # type: ignore[no-untyped-def]
    """The inverse in place of a symmetric positive definite matrix of which the lower half is given.

    Each pivot is swept over the lower half alone, which stays that of a symmetric matrix (Goodnight 1979, "A Tutorial
    on the SWEEP Operator"), and needs no order of pivots.
    """
    size = len(matrix)
    line = np.empty(size)
    for k in range(size):
        for j in range(size):
            line[j] = matrix[k, j] if j < k else matrix[j, k]
        pivot = 1.0 / line[k]
        for i in range(size):
            factor = line[i] * pivot
            for j in range(i + 1):
                matrix[i, j] = matrix[i, j] - factor * line[j]
        for j in range(size):
            if j < k:
                matrix[k, j] = line[j] * pivot
            else:
                matrix[j, k] = line[j] * pivot
        matrix[k, k] = -pivot
    for i in range(size):
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = -matrix[i, j]


@compiled
def _times(matrix, vector, out):  # type: ignore[no-untyped-def]
    """`out` = matrix · vector of a symmetric matrix, row by row, which the compiler can make vectors of."""
    out[:] = 0.0
    for b in range(len(vector)):
        value = vector[b]
        for a in range(len(vector)):
            out[a] += value * matrix[b, a]
