"""From scored candidates to a list: diverse, without near-duplicates, within caps, with room for new items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import RerankConfig
from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.dot import dot
from vizrec_spark.recommend.items import ItemSide


def rerank(
    indptr: NDArray[np.int64],
    item: NDArray[np.int32],
    score: NDArray[np.float64],
    items: ItemSide,
    config: RerankConfig,
    k: int,
) -> NDArray[np.int64]:
    """Which candidates stand in each user's list, best first: rows of the candidates (u, k), -1 behind the last.

    Candidates of user i are rows indptr[i] to indptr[i + 1] in ascending order of item, with `score`; ties go by item.
    One place after another goes to the candidate of the largest (1 − d) · s − d · m, where d is `config.diversity`, s
    the score over the range of the user's `config.pool` best, and m the largest cosine of its looks to what stands in
    the list already (maximal marginal relevance: Carbonell and Goldstein 1998). No second item of a near-duplicate
    group (`config.one_per_group`), no more than `config.max_per_category` of a category. While the list up to a place
    holds fewer new items than `config.exploration` times its length, rounded down, it goes to the best new item.
    """
    chosen = np.full((len(indptr) - 1, k), -1, dtype=np.int64)
    _rerank(
        indptr,
        item,
        score,
        items.looks,
        items.group if config.one_per_group else np.arange(len(items)),
        items.category if config.max_per_category is not None else np.full(len(items), -1),
        items.is_new,
        (config.diversity, config.exploration),
        (config.pool, config.max_per_category or 0),
        chosen,
    )
    return chosen


@compiled
def _rerank(indptr, item, score, looks, group, category, is_new, shares, sizes, out):  # type: ignore[no-untyped-def]
    diversity, exploration = shares
    pool_size, most = sizes
    k = out.shape[1]
    groups = np.empty(k, dtype=np.int64)
    categories = np.empty(k, dtype=np.int64)
    for user in range(len(indptr) - 1):
        # Candidates stand in order of item, and the sort is stable: so ties go by item.
        rows = indptr[user] + np.argsort(-score[indptr[user] : indptr[user + 1]], kind="mergesort")
        size = len(rows)
        if size == 0:
            continue
        pool = min(size, max(pool_size, k))
        used = np.zeros(size, dtype=np.bool_)
        alike = np.zeros(size, dtype=np.float32)
        top, low = score[rows[0]], score[rows[pool - 1]]
        span = top - low if top > low else 1.0
        count, new_count = 0, 0
        while count < k:
            wants_new = new_count < int(exploration * (count + 1) + 1e-9)
            best, best_value = -1, -np.inf
            for only_new in (True, False):
                if only_new and not wants_new:
                    continue
                for place in range(size):
                    if used[place]:
                        continue
                    candidate = item[rows[place]]
                    if only_new and not is_new[candidate]:
                        continue
                    if place >= pool and best >= 0:
                        break
                    value = (1.0 - diversity) * (score[rows[place]] - low) / span
                    if value <= best_value:
                        break  # later ones score less, and likeness can only take off
                    if diversity > 0:
                        value -= diversity * max(alike[place], np.float32(0.0))
                        if value <= best_value:
                            continue
                    fits = True
                    held = 0
                    for c in range(count):
                        if groups[c] == group[candidate]:
                            fits = False
                        if most > 0 and category[candidate] >= 0 and categories[c] == category[candidate]:
                            held += 1
                    if not fits or (most > 0 and held >= most):
                        used[place] = True
                        continue
                    best, best_value = place, value
                if best >= 0:
                    break
            if best < 0:
                break
            taken = item[rows[best]]
            used[best] = True
            out[user, count] = rows[best]
            groups[count], categories[count] = group[taken], category[taken]
            count += 1
            new_count += is_new[taken]
            if diversity > 0:
                for place in range(pool):
                    if used[place]:
                        continue
                    other = item[rows[place]]
                    near = dot(looks[taken], looks[other])
                    if near > alike[place]:
                        alike[place] = near
