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
from vizrec_spark.kernels.shortlist import select
from vizrec_spark.recommend.items import ItemSide, Pool
from vizrec_spark.recommend.sources import FEATURES
from vizrec_spark.recommend.users import Users


class Candidates(NamedTuple):
    """The candidates of u users, in ascending order of item.

    `indptr` (u + 1): those of user i are rows indptr[i] to indptr[i + 1]. `item` (m,) int32 positions; `proposed`
    (m,) uint8: a bit for each of `sources.SOURCES` that proposed it, 0 for what only fills a list;
    `features` (m, f) float32 in the order of `sources.FEATURES`.
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.int32]
    proposed: NDArray[np.uint8]
    features: NDArray[np.float32]

    @property
    def user(self) -> NDArray[np.int64]:
        """The user's row of each candidate."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))


def describe(users: Users, items: ItemSide, limits: CandidatesConfig, fill: int = 0) -> Candidates:
    """The candidates that each source proposes for each user, described; nothing that a user has seen or that
    `items.allowed` rules out. Each source proposes at most as many as `limits` says; what else is among the `fill` most
    popular is described as well, to fill a list with."""
    n, wanted = len(items), limits
    by_als, by_new = _best(users, items.warm, wanted.als), _best(users, items.new, wanted.new)
    by_new = _any_new(users, items, by_new, wanted.new)
    most = np.array([wanted.cooccurrence, wanted.visual, wanted.attributes], dtype=np.int64)
    # Ridge and cosine propose one after the other, half of the co-consumption's candidates each.
    popular = max(wanted.popularity, fill)
    room = int(wanted.als + wanted.new + most.sum() + popular + wanted.fresh)
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
        items.attributes,
        (users.factors, items.factors),
        (items.allowed, items.is_new, items.standing),
        (users.segment, items.segments.standing, items.by_segment),
        (by_als, by_new, items.by_popularity, items.by_freshness),
        most,
        (wanted.popularity, wanted.fresh, fill),
        (indptr, item, proposed, features),
    )
    return Candidates(indptr, item[: indptr[-1]], proposed[: indptr[-1]], features[: indptr[-1]])


def _best(users: Users, pool: Pool, k: int) -> NDArray[np.int64]:
    """The k items of a pool of largest u · v of each user; -1 behind the last, and for users without factors."""
    if k == 0 or len(pool.position) == 0 or not users.has_factors.any():
        return np.full((len(users), 0), -1, dtype=np.int64)
    place = pool.place[users.seen]
    kept = place >= 0
    within = np.concatenate([[0], np.cumsum(kept)])[users.seen_indptr]
    _, key = block_topk(users.factors, pool.factors, k, seen=Seen(within, place[kept]))
    key = np.where(key >= 0, pool.position[np.maximum(key, 0)], -1)
    key[~users.has_factors] = -1
    return key


def _any_new(users: Users, items: ItemSide, best: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """`best` of the new items, where users without factors get the k that were added last, then those of unknown age:
    nothing tells which they would like, and the share of a list that is kept for new items is kept for them as well."""
    without = np.flatnonzero(~users.has_factors)
    if k == 0 or len(items.new.position) == 0 or len(without) == 0:
        return best
    found = np.full((len(users), k), -1, dtype=np.int64)
    found[:, : best.shape[1]] = best
    most = k + int(np.diff(users.seen_indptr)[without].max())
    first = items.new_by_age[:most]
    for row in without:
        own = first[~np.isin(first, users.seen[users.seen_indptr[row] : users.seen_indptr[row + 1]])][:k]
        found[row, : len(own)] = own
    return found


# What a history says of an item, a row of sums.
_RIDGE_RECENT, _RIDGE_WHOLE, _COSINE, _LOOKS_RECENT, _LOOKS_WHOLE, _LOOKS_MOST, _LOOKS_EVER, _ATTRIBUTES = (
    range(8)
)
_SUMS = 8

_FILL = 128  # the bit of what fills a list, which no source has
_WORD = 8  # marks of a byte each that are looked at together


@compiled
def _describe(history, met, lists, attributes, factors, standing, groups, ordered, most, extra, out):  # type: ignore[no-untyped-def]
    indptr, hist_item, recent, whole = history
    seen_indptr, seen = met
    user_factors, item_factors = factors
    allowed, is_new, static = standing
    segment, static_in, by_popularity_in = groups
    by_als, by_new, by_popularity, by_freshness = ordered
    out_indptr, out_item, out_proposed, out_features = out
    written = 0
    n = len(allowed)
    width = attributes.shape[1]
    # The touched items one behind the other, so that what is in use stays in the processor's cache.
    slot = np.full(n, -1, dtype=np.int32)
    touched = np.empty(n, dtype=np.int32)
    sums = np.zeros((n + 1, _SUMS), dtype=np.float32)
    bits = sums.view(np.int32)
    proposals = np.empty(4 * max(most[0], most[1], most[2]) + 1, dtype=np.int64)
    mark = np.zeros((n + _WORD - 1) // _WORD * _WORD, dtype=np.uint8)
    words = mark.view(np.uint64)
    barred = ~allowed
    profile_recent = np.empty(width, dtype=np.float32)
    profile_whole = np.empty(width, dtype=np.float32)
    proposers = (
        (_RIDGE_RECENT, (most[0] + 1) // 2, np.uint8(2)),
        (_COSINE, most[0] // 2, np.uint8(2)),
        (_LOOKS_RECENT, most[1], np.uint8(4)),
        (_ATTRIBUTES, most[2], np.uint8(8)),
    )
    for user in range(len(indptr) - 1):
        for at in range(seen_indptr[user], seen_indptr[user + 1]):
            barred[seen[at]] = True
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
        if total_recent == 0:  # nothing is said, and nothing is to be divided
            total_recent, total_whole = np.float32(1.0), np.float32(1.0)
        own = slice(indptr[user], indptr[user + 1])
        n_touched = _add_up(hist_item[own], recent[own], whole[own], lists, slot, touched, sums)
        for column, k, bit in proposers:
            found = _largest(bits, column, touched[:n_touched], barred, k, proposals)
            _take(proposals[:found], bit, mark)
        _take(by_als[user], np.uint8(1), mark)
        _take(by_new[user], np.uint8(64), mark)
        within = segment[user]
        popular = by_popularity if within < 0 else by_popularity_in[within]
        _head(popular, extra[0], np.uint8(16), barred, mark)
        if extra[2] > extra[0]:
            _head(popular, extra[2], np.uint8(_FILL), barred, mark)
        _head(by_freshness, extra[1], np.uint8(32), barred, mark)
        first = written
        for word in range(len(words)):
            if words[word] == 0:
                continue
            for item in range(word * _WORD, (word + 1) * _WORD):
                if mark[item]:
                    out_item[written] = item
                    out_proposed[written] = mark[item] & (_FILL - 1)
                    written += 1
            words[word] = 0
        out_indptr[user + 1] = written
        # One feature after the other: so the processor waits for the rows of several items at a time.
        taste = user_factors[user]
        for c in range(first, written):
            item = out_item[c]
            liked = dot(taste, item_factors[item])
            out_features[c, 0], out_features[c, 1] = (0.0, liked) if is_new[item] else (liked, 0.0)
        for c in range(first, written):
            line = attributes[out_item[c]]
            out_features[c, 9] = dot(profile_recent, line) / total_recent
            out_features[c, 10] = dot(profile_whole, line) / total_whole
        for c in range(first, written):
            item = out_item[c]
            row, said = out_features[c], sums[slot[item] if slot[item] >= 0 else n]
            row[2], row[3], row[4] = said[_RIDGE_RECENT], said[_RIDGE_WHOLE], said[_COSINE]
            row[5], row[6] = said[_LOOKS_RECENT] / total_recent, said[_LOOKS_WHOLE] / total_whole
            row[7], row[8] = said[_LOOKS_MOST], said[_LOOKS_EVER]
            for j in range(static.shape[1]):
                row[11 + j] = static[item, j]
            if within >= 0:
                row[11], row[12] = static_in[within, item, 0], static_in[within, item, 1]
        for at in range(seen_indptr[user], seen_indptr[user + 1]):
            barred[seen[at]] = not allowed[seen[at]]
        for t in range(n_touched):
            slot[touched[t]] = -1
        sums[:n_touched] = 0.0


@compiled
def _add_up(items, recent, whole, lists, slot, touched, sums):  # type: ignore[no-untyped-def]
    """Adds up what a history says, each item that it speaks of in a row of `sums` of its own; how many there are.

    `touched` is filled with these items, and `slot` with their rows.
    """
    start, list_item, list_value = lists
    n = 0
    for e in range(len(items)):
        item, now, ever = items[e], recent[e], whole[e]
        for p in range(start[item, 0], start[item, 4]):
            if slot[list_item[p]] < 0:
                slot[list_item[p]] = n
                touched[n] = list_item[p]
                n += 1
        for p in range(start[item, 0], start[item, 1]):
            row = slot[list_item[p]]
            sums[row, _RIDGE_RECENT] += now * list_value[p]
            sums[row, _RIDGE_WHOLE] += ever * list_value[p]
        for p in range(start[item, 1], start[item, 2]):
            sums[slot[list_item[p]], _COSINE] += now * list_value[p]
        for p in range(start[item, 2], start[item, 3]):
            row, likeness = slot[list_item[p]], now * list_value[p]
            sums[row, _LOOKS_RECENT] += likeness
            sums[row, _LOOKS_WHOLE] += ever * list_value[p]
            sums[row, _LOOKS_MOST] = max(sums[row, _LOOKS_MOST], likeness)
            sums[row, _LOOKS_EVER] = max(sums[row, _LOOKS_EVER], list_value[p])
        for p in range(start[item, 3], start[item, 4]):
            sums[slot[list_item[p]], _ATTRIBUTES] += now * list_value[p]
    return n


@compiled
def _largest(bits, column, touched, barred, k, out):  # type: ignore[no-untyped-def]
    """Fills `out` with the k touched items of largest sums above 0; of equal ones with the smallest. How many it found.

    `bits`: the sums as whole numbers, which stand in the same order where they are above 0. With what is left of the
    largest position in the lower half of a long, no two candidates are equal. `out`: room for at least 4k.
    """
    if k == 0:
        return 0
    last = np.int64(len(barred) - 1)
    least, bar, found = np.int64(1), np.int64(0), 0
    for t in range(len(touched)):
        if bits[t, column] < least:
            continue
        item = touched[t]
        candidate = (np.int64(bits[t, column]) << 32) | (last - item)
        out[found] = candidate
        found += (candidate > bar) & (not barred[item])  # no branch to be guessed
        if found == 4 * k:
            bar, found = select(out, found, k), k
            least = bar >> 32
    if found > k:
        select(out, found, k)
        found = k
    for place in range(found):
        out[place] = last - (out[place] & 0xFFFFFFFF)
    return found


@compiled
def _take(items, bit, mark):  # type: ignore[no-untyped-def]
    for item in items:
        if item >= 0:
            mark[item] |= bit


@compiled
def _head(order, k, bit, barred, mark):  # type: ignore[no-untyped-def]
    taken = 0
    for place in range(len(order)):
        if taken >= k:
            break
        item = order[place]
        if not barred[item]:
            taken += 1
            mark[item] |= bit
