"""Proposes candidates for a block of users and describes each pair by the features of the blend.

One compiled pass a user: every list of every item in the history is added up in scratch arrays of the catalogue's
length, each source proposes its best, and the union is described. Users × items never stands in memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import CandidatesConfig
from vizrec_spark.kernels.block_topk import Seen, block_topk
from vizrec_spark.kernels.compiled import compiled
from vizrec_spark.kernels.dot import dot
from vizrec_spark.kernels.selection import replace_root
from vizrec_spark.recommend.items import ItemSide
from vizrec_spark.recommend.sources import FEATURES
from vizrec_spark.recommend.users import Users


class Candidates(NamedTuple):
    """The candidates of u users, in ascending order of item.

    `indptr` (u + 1): those of user i are rows indptr[i] to indptr[i + 1]. `item` (m,) int32 positions; `proposed`
    (m,) uint8: a bit for each of `sources.SOURCES` that proposed it; `features` (m, f) float32 in the order of
    `sources.FEATURES`.
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.int32]
    proposed: NDArray[np.uint8]
    features: NDArray[np.float32]

    @property
    def user(self) -> NDArray[np.int64]:
        """The user's row of each candidate."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))


def describe(users: Users, items: ItemSide, limits: CandidatesConfig) -> Candidates:
    """The candidates that each source proposes for each user, described; nothing that a user has seen or that
    `items.allowed` rules out. Each source proposes at most as many as `limits` says."""
    n, wanted = len(items), limits
    warm = items.allowed & items.has_factors & ~items.is_new
    seen = Seen(users.seen_indptr, users.seen)
    by_als = _best(users, items, warm, wanted.als, seen)
    by_new = _best(users, items, items.allowed & items.has_factors & items.is_new, wanted.new, seen)
    most = np.array([wanted.cooccurrence, wanted.visual, wanted.attributes], dtype=np.int64)
    # Ridge and cosine propose one after the other, half of the co-consumption's candidates each.
    room = int(wanted.als + wanted.new + most.sum() + wanted.popularity + wanted.fresh)
    room = min(room, n)
    # Room for the most; what is not written to takes no memory.
    indptr = np.zeros(len(users) + 1, dtype=np.int64)
    item = np.empty(len(users) * room, dtype=np.int32)
    proposed = np.empty(len(users) * room, dtype=np.uint8)
    features = np.empty((len(users) * room, len(FEATURES)), dtype=np.float32)
    lists = items.lists
    _describe(
        (users.indptr, users.item, users.recent, users.whole),
        (users.seen_indptr, users.seen),
        (lists.start, lists.item, lists.value),
        (items.attribute_start, items.attribute_item, items.attribute_value),
        items.attributes,
        (users.factors, items.factors),
        (items.allowed, items.is_new, items.standing),
        (by_als, by_new, items.by_popularity, items.by_freshness),
        most,
        (wanted.popularity, wanted.fresh),
        (indptr, item, proposed, features),
    )
    return Candidates(indptr, item[: indptr[-1]], proposed[: indptr[-1]], features[: indptr[-1]])


def _best(
    users: Users, items: ItemSide, eligible: NDArray[np.bool_], k: int, seen: Seen
) -> NDArray[np.int64]:
    """The k eligible items of largest u · v of each user; -1 behind the last, and for users without factors."""
    if k == 0 or not eligible.any() or not users.has_factors.any():
        return np.full((len(users), 0), -1, dtype=np.int64)
    few = np.flatnonzero(eligible)
    if 4 * len(few) < len(items):  # a handful of new items: multiply those alone
        column = np.full(len(items), -1, dtype=np.int64)
        column[few] = np.arange(len(few))
        place = column[seen.indices]
        kept = place >= 0
        within = np.concatenate([[0], np.cumsum(kept)])[seen.indptr]
        _, key = block_topk(users.factors, items.factors[few], k, seen=Seen(within, place[kept]))
        key = np.where(key >= 0, few[np.maximum(key, 0)], -1)
    else:
        _, key = block_topk(users.factors, items.factors, k, seen=seen, eligible=eligible)
    key[~users.has_factors] = -1
    return key


@compiled
def _describe(history, met, lists, near, attributes, factors, standing, ordered, most, extra, out):  # type: ignore[no-untyped-def]
    indptr, hist_item, recent, whole = history
    seen_indptr, seen = met
    starts, list_item, list_value = lists
    near_start, near_item, near_value = near
    user_factors, item_factors = factors
    allowed, is_new, static = standing
    by_als, by_new, by_popularity, by_freshness = ordered
    out_indptr, out_item, out_proposed, out_features = out
    written = 0
    n = len(allowed)
    n_lists = len(starts)
    width = attributes.shape[1]
    sum_recent = np.zeros((n_lists, n), dtype=np.float32)
    sum_whole = np.zeros((n_lists, n), dtype=np.float32)
    most_alike = np.zeros(n, dtype=np.float32)
    near_sum = np.zeros(n, dtype=np.float32)
    mark = np.zeros(n, dtype=np.uint8)
    barred = np.zeros(n, dtype=np.bool_)
    touched = np.empty(n, dtype=np.int64)
    was_touched = np.zeros(n, dtype=np.bool_)
    most_proposed = max(most[0], most[1], most[2])
    heap = np.empty(most_proposed, dtype=np.float32)
    names = np.empty(most_proposed, dtype=np.int64)
    chosen = np.empty(n, dtype=np.int64)
    profile_recent = np.empty(width, dtype=np.float32)
    profile_whole = np.empty(width, dtype=np.float32)
    for user in range(len(indptr) - 1):
        for at in range(seen_indptr[user], seen_indptr[user + 1]):
            barred[seen[at]] = True
        n_chosen = 0
        total_recent, total_whole = np.float32(0.0), np.float32(0.0)
        profile_recent[:] = 0.0
        profile_whole[:] = 0.0
        for e in range(indptr[user], indptr[user + 1]):
            total_recent += recent[e]
            total_whole += whole[e]
            line = attributes[hist_item[e]]
            for j in range(width):
                profile_recent[j] += recent[e] * line[j]
                profile_whole[j] += whole[e] * line[j]
        # The lists: what each says in all, and its best that are neither seen nor ruled out.
        n_touched = 0
        for s in range(n_lists):
            n_touched = 0
            for e in range(indptr[user], indptr[user + 1]):
                item, now, ever = hist_item[e], recent[e], whole[e]
                for p in range(starts[s, item], starts[s, item + 1]):
                    other, value = list_item[p], list_value[p]
                    if not was_touched[other]:
                        was_touched[other] = True
                        touched[n_touched] = other
                        n_touched += 1
                    sum_recent[s, other] += now * value
                    sum_whole[s, other] += ever * value
                    if s == 2 and now * value > most_alike[other]:
                        most_alike[other] = now * value
            for t in range(n_touched):
                was_touched[touched[t]] = False
            kind = 0 if s < 2 else 1
            n_chosen = _propose(
                touched[:n_touched],
                sum_recent[s],
                most[1] if s == 2 else (most[0] + 1 - s) // 2,
                np.uint8(2 << kind),
                allowed,
                barred,
                mark,
                chosen,
                n_chosen,
                heap,
                names,
            )
        n_touched = 0
        for e in range(indptr[user], indptr[user + 1]):
            item, now = hist_item[e], recent[e]
            for p in range(near_start[item], near_start[item + 1]):
                other = near_item[p]
                if not was_touched[other]:
                    was_touched[other] = True
                    touched[n_touched] = other
                    n_touched += 1
                near_sum[other] += now * near_value[p]
        n_chosen = _propose(
            touched[:n_touched],
            near_sum,
            most[2],
            np.uint8(8),
            allowed,
            barred,
            mark,
            chosen,
            n_chosen,
            heap,
            names,
        )
        for t in range(n_touched):
            was_touched[touched[t]] = False
            near_sum[touched[t]] = 0.0
        n_chosen = _take(by_als[user], np.uint8(1), mark, chosen, n_chosen)
        n_chosen = _take(by_new[user], np.uint8(64), mark, chosen, n_chosen)
        n_chosen = _head(by_popularity, extra[0], np.uint8(16), allowed, barred, mark, chosen, n_chosen)
        n_chosen = _head(by_freshness, extra[1], np.uint8(32), allowed, barred, mark, chosen, n_chosen)
        picked = np.sort(chosen[:n_chosen])
        own = user_factors[user]
        out_indptr[user + 1] = out_indptr[user] + n_chosen
        for c in range(n_chosen):
            item = picked[c]
            out_item[written] = item
            out_proposed[written] = mark[item]
            mark[item] = 0
            row = out_features[written]
            written += 1
            row[:] = 0.0
            taste = dot(own, item_factors[item])
            for j in range(static.shape[1]):
                row[10 + j] = static[item, j]
            row[1 if is_new[item] else 0] = taste
            row[2] = sum_recent[0, item]
            row[3] = sum_whole[0, item]
            row[4] = sum_recent[1, item]
            if total_recent > 0:
                row[5] = sum_recent[2, item] / total_recent
                row[6] = sum_whole[2, item] / total_whole
                row[7] = most_alike[item]
                line = attributes[item]
                row[8] = dot(profile_recent, line) / total_recent
                row[9] = dot(profile_whole, line) / total_whole
        for at in range(seen_indptr[user], seen_indptr[user + 1]):
            barred[seen[at]] = False
        for e in range(indptr[user], indptr[user + 1]):
            item = hist_item[e]
            for s in range(n_lists):
                for p in range(starts[s, item], starts[s, item + 1]):
                    sum_recent[s, list_item[p]] = 0.0
                    sum_whole[s, list_item[p]] = 0.0
                    most_alike[list_item[p]] = 0.0


@compiled
def _propose(touched, value, k, bit, allowed, barred, mark, chosen, n_chosen, heap, names):  # type: ignore[no-untyped-def]
    """Marks the k largest values above 0 among `touched`; of equal ones at the edge the smallest positions.

    `heap` and `names` are scratch of at least k: the k best so far, the worst of them first.
    """
    if k == 0:
        return n_chosen
    best, keys = heap[:k], names[:k]
    for place in range(k):
        best[place] = np.float32(0.0)
        keys[place] = -1  # so that a value of 0 never gets in
    for t in range(len(touched)):
        item = touched[t]
        worth = value[item]
        better = worth > best[0] or (worth == best[0] and item < keys[0])
        if better and allowed[item] and not barred[item]:
            replace_root(best, keys, worth, item)
    return _take(keys, bit, mark, chosen, n_chosen)


@compiled
def _take(keys, bit, mark, chosen, n_chosen):  # type: ignore[no-untyped-def]
    for place in range(len(keys)):
        item = keys[place]
        if item < 0:
            continue
        if mark[item] == 0:
            chosen[n_chosen] = item
            n_chosen += 1
        mark[item] |= bit
    return n_chosen


@compiled
def _head(order, k, bit, allowed, barred, mark, chosen, n_chosen):  # type: ignore[no-untyped-def]
    taken = 0
    for place in range(len(order)):
        if taken >= k:
            break
        item = order[place]
        if not allowed[item] or barred[item]:
            continue
        taken += 1
        if mark[item] == 0:
            chosen[n_chosen] = item
            n_chosen += 1
        mark[item] |= bit
    return n_chosen
