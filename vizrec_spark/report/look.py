"""The galleries of one item, user or picture, out of the tables; nothing is written."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config import Config
from vizrec_spark.errors import InputError, TableError
from vizrec_spark.imaging import Thumbnail, thumbnail
from vizrec_spark.report.collect import Chosen, build_gallery, choose_item, choose_user, known_items
from vizrec_spark.report.model import Gallery, Item
from vizrec_spark.report.pictures import Pictures, small_pictures
from vizrec_spark.tables import TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import INTERACTIONS, ITEM_NEIGHBORS, ITEMS, RECOMMENDATIONS, USERS


def has_item(tables: TableStore, item_id: str) -> bool:
    """Whether the catalogue has the item. Runs a job."""
    return not tables.read(ITEMS).where(F.col("item_id") == item_id).isEmpty()


def has_user(tables: TableStore, user_id: str) -> bool:
    """Whether table `users` has the user. Runs a job."""
    return not tables.read(USERS).where(F.col("user_id") == user_id).isEmpty()


def look_at_item(tables: TableStore, config: Config, item_id: str, k: int) -> Gallery:
    """The item with its `k` look-alikes, fewer where there are fewer.

    Raises: InputError for an item that the catalogue does not have; TableError without embeddings of the configured
    encoder, or without look-alikes of the item.
    """
    if not has_item(tables, item_id):
        raise InputError(f"There is no item {item_id!r} in table items.")
    of = F.col("encoder_id") == encoder_of(tables, config)
    found = _gallery(tables, config, choose_item(tables.read(ITEM_NEIGHBORS).where(of), item_id, k))
    if not found.showcases:
        raise TableError(
            f"Item {item_id} has no look-alikes: it has no accepted picture, no other item has one, or stage `similar` "
            "has not run since it came."
        )
    return found


def look_at_user(tables: TableStore, config: Config, user_id: str, k: int) -> Gallery:
    """What the user did last, and the `k` first offers with reasons. Raises: InputError for an unknown user."""
    if not has_user(tables, user_id):
        raise InputError(f"There is no user {user_id!r} in table users.")
    chosen = choose_user(user_id, tables.read(INTERACTIONS), tables.read_or_empty(RECOMMENDATIONS), k)
    return _gallery(tables, config, chosen)


def look_at_picture(
    tables: TableStore, config: Config, name: str, content: bytes, near: DataFrame
) -> Gallery:
    """A picture of one's own with the items that look like it; `near`: item_id (`picture_id` of the content), rank,
    neighbor_id, cosine, distance."""
    asked = picture_id(content)
    chosen = Chosen(near=near.withColumn("order", F.lit(1)).collect())
    shown = thumbnail(content, config.report.thumbnail, config.ingest.images.max_pixels)
    return _gallery(tables, config, chosen, Item(asked, name), shown)


def picture_id(content: bytes) -> str:
    """The id that a picture of one's own has among the items; no item has it by chance."""
    return f"picture-{sha256(content).hexdigest()}"


def encoder_of(tables: TableStore, config: Config) -> str:
    """The id of the configured encoder. Raises: TableError where stage `embed` has not met it."""
    encoder_id = current_encoder(tables, config.embed)
    if encoder_id is None:
        raise TableError(
            "No embeddings of the configured encoder: run stage `embed` with this configuration."
        )
    return encoder_id


def _gallery(
    tables: TableStore,
    config: Config,
    chosen: Chosen,
    asked: Item | None = None,
    shown: Thumbnail | None = None,
) -> Gallery:
    """The rows with names and pictures; `asked` is no item of the catalogue, and `shown` its picture."""
    size, max_pixels = config.report.thumbnail, config.ingest.images.max_pixels
    pictures, _ = small_pictures(tables, sorted(chosen.item_ids), size, max_pixels)
    known = known_items(tables.read(ITEMS), chosen.item_ids, pictures)
    if asked is not None:
        known[asked.item_id] = replace(asked, picture=asked.item_id if shown is not None else None)
        extra = {} if shown is None else {asked.item_id: shown}
        pictures = Pictures({**pictures.thumbnails, **extra}, pictures.of)
    return build_gallery(None, chosen, known, pictures)
