"""From tables to the view model: the only place of the report that brings rows to the driver, and only few."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vizrec_spark.config.models import ReportConfig
from vizrec_spark.report import select
from vizrec_spark.report.facts import moment
from vizrec_spark.report.model import (
    Facts,
    Gallery,
    Item,
    LookAlike,
    Offer,
    Seen,
    Shopper,
    Showcase,
    Thumbnail,
)
from vizrec_spark.report.thumbnails import thumbnail_of

SHOWN_AS = {"cooccurrence": "als", "attributes": "visual"}
"""Sources that the page shows with another: what comes of other people's choices, and what of the item itself."""


def build_gallery(
    facts: Facts,
    *,
    items: DataFrame,
    pictures: Callable[[Sequence[str]], DataFrame],
    users: DataFrame,
    interactions: DataFrame,
    neighbors: DataFrame,
    recommendations: DataFrame,
    config: ReportConfig,
    max_pixels: int,
) -> Gallery:
    """The page's content, from frames of the tables' columns; `neighbors` of one encoder, any of them empty.

    pictures: one picture of each of some items, as `pictures.first_pictures` gives them.
    """
    profiles = select.shopper_profiles(users, interactions, recommendations)
    people = select.spread(select.shopper_candidates(profiles, config.shoppers).collect(), config.shoppers)
    ids = [row.user_id for row in people]
    history = select.histories(interactions, ids).collect()
    offered = select.offers(recommendations, interactions, ids).collect()
    near = select.look_alikes(neighbors, select.showcase_items(neighbors, items, config.items)).collect()
    wanted = _item_ids(history, offered, near)
    thumbnails, picture_of = _thumbnails(pictures(wanted), config.thumbnail, max_pixels)
    known = _known(select.item_details(items, wanted).collect(), wanted, picture_of)
    return Gallery(
        facts,
        tuple(_shopper(row, history, offered, known) for row in people),
        _showcases(near, known),
        thumbnails,
    )


def _item_ids(history: Iterable[Row], offered: Iterable[Row], near: Iterable[Row]) -> list[str]:
    causes = {row.because_item_id for row in offered} - {None}
    ends = {row.item_id for rows in (history, offered, near) for row in rows}
    return sorted(ends | causes | {row.neighbor_id for row in near})


def _thumbnails(
    pictures: DataFrame, size: int, max_pixels: int
) -> tuple[dict[str, Thumbnail], dict[str, str]]:
    """Thumbnails by content hash, and the hash for each item."""
    small = pictures.select(
        "item_id", "sha256", thumbnail_of(F.col("content"), size, max_pixels).alias("made")
    )
    rows = [row for row in small.collect() if row.made is not None]
    made = {row.sha256: Thumbnail(bytes(row.made.jpeg), row.made.width, row.made.height) for row in rows}
    return made, {row.item_id: row.sha256 for row in rows}


def _known(rows: Iterable[Row], wanted: Iterable[str], picture_of: Mapping[str, str]) -> dict[str, Item]:
    """Every wanted item; one that has left the catalogue keeps its id and its picture."""
    known = {item_id: Item(item_id, picture=picture_of.get(item_id)) for item_id in wanted}
    for row in rows:
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
