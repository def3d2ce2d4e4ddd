"""The galleries: from tables to few rows on the driver, and from these to the view model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vizrec_spark.report import select
from vizrec_spark.report.facts import moment
from vizrec_spark.report.model import (
    SHOWN_AS,
    Facts,
    Gallery,
    Item,
    LookAlike,
    Offer,
    Seen,
    Shopper,
    Showcase,
)
from vizrec_spark.report.pictures import Pictures


@dataclass(frozen=True)
class Chosen:
    """Rows of the shoppers and items that the page shows, and the ids of all items in them."""

    people: Sequence[Row] = ()
    history: Sequence[Row] = ()
    offered: Sequence[Row] = ()
    near: Sequence[Row] = ()

    @property
    def item_ids(self) -> set[str]:
        """Every item that the rows name."""
        causes = {row.because_item_id for row in self.offered} - {None}
        ends = {row.item_id for rows in (self.history, self.offered, self.near) for row in rows}
        return ends | causes | {row.neighbor_id for row in self.near}


def choose_shoppers(users: DataFrame, interactions: DataFrame, recommendations: DataFrame, n: int) -> Chosen:
    """The rows of `n` users with history and offers, from frames of the tables' columns, any of them empty."""
    profiles = select.shopper_profiles(users, interactions, recommendations)
    people = select.spread(select.shopper_candidates(profiles, n).collect(), n)
    ids = [row.user_id for row in people]
    return Chosen(
        people,
        select.histories(interactions, ids).collect(),
        select.offers(recommendations, interactions, ids).collect(),
    )


def choose_showcases(neighbors: DataFrame, items: DataFrame, n: int) -> Chosen:
    """The rows of `n` items with look-alikes; `neighbors` of one encoder."""
    return Chosen(near=select.look_alikes(neighbors, select.showcase_items(neighbors, items, n)).collect())


def choose_user(
    user_id: str, interactions: DataFrame, recommendations: DataFrame, top: int = select.OFFERS
) -> Chosen:
    """The rows of one user with `top` offers; of all others only who has met one of these is looked for."""
    mine = interactions.where(F.col("user_id") == user_id)
    did = mine.agg(
        F.count_distinct("item_id").alias("n_items"), F.count(F.lit(1)).alias("n_events")
    ).collect()[0]
    offered = recommendations.where((F.col("user_id") == user_id) & (F.col("rank") <= top))
    ids = [row.item_id for row in offered.select("item_id").collect()]
    met = interactions.where(F.col("item_id").isin(*ids))
    return Chosen(
        [Row(user_id=user_id, kind="asked", n_items=did.n_items, n_events=did.n_events)],
        select.histories(mine, [user_id]).collect(),
        select.offers(offered, met, [user_id], top).collect(),
    )


def choose_item(neighbors: DataFrame, item_id: str, top: int = select.LOOK_ALIKES) -> Chosen:
    """The `top` look-alikes of one item; `neighbors` of one encoder."""
    asked = neighbors.sparkSession.createDataFrame([(item_id, 1)], "item_id string, order int")
    return Chosen(near=select.look_alikes(neighbors, asked, top).collect())


def build_gallery(
    facts: Facts | None, chosen: Chosen, known: Mapping[str, Item], pictures: Pictures
) -> Gallery:
    """What the page shows of the rows; `known` has every item that they name."""
    return Gallery(
        facts,
        tuple(_shopper(row, chosen.history, chosen.offered, known) for row in chosen.people),
        _showcases(chosen.near, known),
        pictures.thumbnails,
    )


def known_items(items: DataFrame, wanted: Iterable[str], pictures: Pictures) -> dict[str, Item]:
    """Every wanted item by id; one that has left the catalogue keeps its id and its picture."""
    ids = sorted(set(wanted))
    known = {}
    for item_id in ids:
        sha256 = pictures.of.get(item_id)
        whole = sha256 in pictures.thumbnails
        known[item_id] = Item(
            item_id, picture=sha256 if whole else None, broken=sha256 is not None and not whole
        )
    for row in select.item_details(items, ids).collect():
        known[row.item_id] = replace(
            known[row.item_id],
            title=row.title,
            categories=tuple(row.categories or ()),
            attributes=dict(row.attributes or {}),
        )
    return known


def _shopper(
    profile: Row, history: Iterable[Row], offered: Iterable[Row], known: Mapping[str, Item]
) -> Shopper:
    did = sorted((row for row in history if row.user_id == profile.user_id), key=lambda row: row.place)
    got = sorted((row for row in offered if row.user_id == profile.user_id), key=lambda row: row["rank"])
    return Shopper(
        profile.user_id,
        profile.kind,
        profile.n_items,
        profile.n_events,
        tuple(Seen(known[row.item_id], row.event, moment(row.seconds), row.rating) for row in did),
        tuple(
            Offer(
                item=known[row.item_id],
                rank=row["rank"],
                score=row.score,
                cf=row.score_cf + row.score_cooccurrence,
                visual=row.score_visual + row.score_attributes,
                popularity=row.score_popularity + row.score_boost,
                source=SHOWN_AS.get(row.source, row.source),
                reason=row.reason,
                because=known[row.because_item_id] if row.because_item_id is not None else None,
                is_new=row.is_new,
            )
            for row in got
        ),
    )


def _showcases(near: Iterable[Row], known: Mapping[str, Item]) -> tuple[Showcase, ...]:
    lists: dict[tuple[int, str], list[LookAlike]] = defaultdict(list)
    for row in sorted(near, key=lambda row: (row.order, row["rank"])):
        lists[row.order, row.item_id].append(LookAlike(known[row.neighbor_id], row.cosine, row.distance))
    return tuple(Showcase(known[item_id], tuple(found)) for (_, item_id), found in lists.items())
