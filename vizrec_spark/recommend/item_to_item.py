"""Item-to-item lists: alternatives that look alike and are chosen by the same people, and what goes with an item."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.recommend.items import ItemSide
from vizrec_spark.tables.schemas import ITEM_RECOMMENDATIONS


def item_lists(spark: SparkSession, side: ItemSide, k: int) -> DataFrame:
    """Both kinds of list of every item, at most k each, in the columns of `ITEM_RECOMMENDATIONS`.

    `alternative`: what looks alike, by the mean of likeness in looks and cosine of co-consumption; by the latter alone
    for an item without look-alikes, as one without a picture. `complement`: by cosine of
    co-consumption times (1 − likeness), and only where co-consumption is larger than likeness: what is chosen
    together and does not look alike. Never the item itself, nor one of its near-duplicates as a complement, nor what
    a rule bars.
    """
    of, to, looks, taken = paired(side)
    open_to = side.allowed[to] & (of != to)
    blind = np.bincount(of[looks > 0], minlength=len(side)) == 0
    rows = []
    apart = side.group[of] != side.group[to]
    for kind, score, kept in (
        ("alternative", 0.5 * (looks + taken), open_to & ((looks > 0) | blind[of])),
        ("complement", taken * (1.0 - looks), open_to & apart & (taken > looks)),
    ):
        at = np.flatnonzero(kept & (score > 0))
        order = at[np.lexsort((to[at], -score[at], of[at]))]
        place = np.arange(len(order)) - np.searchsorted(of[order], of[order], side="left")
        order, place = order[place < k], place[place < k]
        rows.append(
            pa.table(
                {
                    "item_id": side.arrow_ids.take(pa.array(of[order])),
                    "kind": pa.array([kind] * len(order), pa.string()),
                    "rank": pa.array((place + 1).astype(np.int32)),
                    "other_item_id": side.arrow_ids.take(pa.array(to[order])),
                    "score": pa.array(score[order]),
                    "looks": pa.array(looks[order]),
                    "together": pa.array(taken[order]),
                }
            )
        )
    return spark.createDataFrame(pa.concat_tables(rows), ITEM_RECOMMENDATIONS.schema)


def paired(
    side: ItemSide,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Every pair (of, to) that looks or co-consumption know, each once and in order, with both values (0 to 1).

    Co-consumption's lists are of what says most *for* an item; they are read from that item's side.
    """
    n = len(side)
    key, looks, taken = [], [], []
    for name in ("looks", "cosine"):
        holder, member, value = side.lists.under(name)
        key.append(holder * n + member if name == "looks" else member * n + holder)
        looks.append(value if name == "looks" else np.zeros(len(value)))
        taken.append(np.zeros(len(value)) if name == "looks" else value)
    keys, inverse = np.unique(np.concatenate(key), return_inverse=True)
    of, to = np.divmod(keys, max(n, 1))
    by_looks, by_taking = np.zeros(len(keys)), np.zeros(len(keys))
    np.maximum.at(by_looks, inverse, np.concatenate(looks))
    np.maximum.at(by_taking, inverse, np.concatenate(taken))
    return of, to, by_looks, by_taking
