"""From scored candidates to a list: diverse, without near-duplicates, within caps, with room for new items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import RerankConfig
from vizrec_spark.errors import TableError
from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.dot import dot
from vizrec_spark.kernels.selection import replace_root
from vizrec_spark.recommend.items import ItemSide


def rerank(
    indptr: NDArray[np.int64],
    item: NDArray[np.int32],
    score: NDArray[np.float64],
    items: ItemSide,
    config: RerankConfig,
    k: int,
    late: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Which candidates stand in each user's list, best first: rows of the candidates (u, k), -1 behind the last.

    Candidates of user i are rows indptr[i] to indptr[i + 1] in ascending order of item, with `score`; ties go by item.
    One place after another goes to the candidate of the largest (1 − d) · s − d · m, where d is `config.diversity`, s
    the score over the range of the user's `config.pool` best, and m the largest cosine of its looks to what stands in
    the list already (maximal marginal relevance: Carbonell and Goldstein 1998). No second item of a near-duplicate
    group (`config.one_per_group`), no more than `config.max_per_category` of a category. While the list up to a place
    holds fewer new items than `config.exploration` times its length, rounded down, it goes to the best new item.
    Candidates outside the pool follow by score, and those that are `late` (m,) only where no other fits, whatever the
    share of new items: so the first places of a list do not depend on `k`.
    Raises: TableError where a score is no finite number.
    """
    if not np.isfinite(score).all():
        raise TableError(
            "A score is no finite number: factors, attributes or weights hold NaN or infinity. Run stages als and "
            "recommend anew."
        )
    chosen = np.full((len(indptr) - 1, k), -1, dtype=np.int64)
    _rerank(
        indptr,
        item,
        score,
        items.looks,
        items.group if config.one_per_group else np.arange(len(items)),
        items.category if config.max_per_category is not None else np.full(len(items), -1),
        items.is_new,
        np.zeros(len(item), dtype=bool) if late is None else late,
        (config.diversity, config.exploration),
        (config.pool, config.max_per_category or 0),
        chosen,
    )
    return chosen


@compiled
def _rerank(indptr, item, score, looks, group, category, is_new, late, shares, sizes, out):  # type: ignore[no-untyped-def]
    diversity, exploration = shares
    pool_size, most = sizes
    k = out.shape[1]
    pool, worth = np.empty(pool_size, dtype=np.int64), np.empty(pool_size)
    alike, compared = np.empty(pool_size, dtype=np.float32), np.empty(pool_size, dtype=np.int64)
    for user in range(len(indptr) - 1):
        first, last = indptr[user], indptr[user + 1]
        if first == last:
            continue
        size = 0
        for row in range(first, last):
            size += not late[row]
        size = min(size, pool_size)
        low, span = 0.0, 1.0
        if size > 0:
            _fill_pool(score, late, first, last, worth[:size], pool[:size])
            low = worth[size - 1]
            span = worth[0] - low if worth[0] > low else 1.0
        for place in range(size):
            worth[place] = (1.0 - diversity) * (worth[place] - low) / span
            alike[place], compared[place] = 0.0, 0
        used = np.zeros(last - first, dtype=np.bool_)
        count, new_count = 0, 0
        while count < k:
            held = out[user, :count]
            wants_new = new_count < int(exploration * (count + 1) + 1e-9)
            best = -1
            for only_new in (True, False):
                if best >= 0 or (only_new and not wants_new):
                    continue
                best_value = -np.inf
                for place in range(size):
                    row = pool[place]
                    value = worth[place]
                    if value <= best_value:
                        break  # later ones score less, and likeness can only take off
                    if used[row - first] or (only_new and not is_new[item[row]]):
                        continue
                    if diversity > 0:
                        for other in held[compared[place] :]:
                            near = dot(looks[item[other]], looks[item[row]])
                            alike[place] = max(alike[place], near)
                        compared[place] = count
                        value -= diversity * alike[place]
                        if value <= best_value:
                            continue
                    if _fits(item, held, row, group, category, most):
                        best, best_value = row, value
                    else:
                        used[row - first] = True  # nor will it fit later
                if best >= 0 or size == last - first:
                    continue
                # Nothing in the pool: the best of the rest, whatever it looks like.
                for of_late in (False, True):
                    if best >= 0 or (of_late and only_new):
                        continue
                    for row in range(first, last):
                        if used[row - first] or late[row] != of_late or score[row] <= best_value:
                            continue
                        if only_new and not is_new[item[row]]:
                            continue
                        if _fits(item, held, row, group, category, most):
                            best, best_value = row, score[row]
                        else:
                            used[row - first] = True
            if best < 0:
                break
            used[best - first] = True
            out[user, count] = best
            count += 1
            new_count += is_new[item[best]]


@compiled
def _fill_pool(score, late, first, last, worth, pool):  # type: ignore[no-untyped-def]
    """The best of the rows `first` to `last` that are not late and their scores, best first; of equals the lower."""
    worth[:] = -np.inf
    pool[:] = last
    for row in range(first, last):
        if late[row]:
            continue
        if score[row] > worth[0] or (score[row] == worth[0] and row < pool[0]):
            replace_root(worth, pool, score[row], row)
    for size in range(len(pool), 1, -1):
        # The worst goes to the end, and what stood there to its place among the others.
        row, value = pool[size - 1], worth[size - 1]
        pool[size - 1], worth[size - 1] = pool[0], worth[0]
        replace_root(worth[: size - 1], pool[: size - 1], value, row)


@compiled
def _fits(item, held, row, group, category, most):  # type: ignore[no-untyped-def]
    """Whether a candidate may stand in a list that holds the rows `held`."""
    own, kind = group[item[row]], category[item[row]]
    alike = 0
    for other in held:
        if group[item[other]] == own:
            return False
        alike += category[item[other]] == kind
    return most == 0 or kind < 0 or alike < most
