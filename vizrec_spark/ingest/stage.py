"""Wires stage `ingest`: what is read, in which order the tables are written, how the counts are told."""

from __future__ import annotations

from functools import reduce
from operator import or_

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import IngestConfig
from vizrec_spark.ingest.accounts import check_written, image_account, record_account, refuse_unusable
from vizrec_spark.ingest.catalogue import catalogue_columns, validate_catalogue
from vizrec_spark.ingest.faults import readable_input
from vizrec_spark.ingest.images import decode_check, image_references, list_files, match_files, refused_images
from vizrec_spark.ingest.interactions import interaction_columns, validate_interactions
from vizrec_spark.ingest.judge import accepted, quarantined
from vizrec_spark.ingest.sources import read_source
from vizrec_spark.ingest.users import validate_users
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import TableStore, Written
from vizrec_spark.tables.schemas import (
    IMAGES,
    INTERACTIONS,
    ITEMS,
    LIVE_EVENTS,
    QUARANTINE,
    SEGMENTS,
    USERS,
)

_OLDER_TIMES = 200


@readable_input()
def run(context: StageContext) -> StageResult:
    """Landing files to items, users, interactions, images and quarantine; counts add up and are told.

    What came over the stream meanwhile (table `live_events`) and is not in the log joins `interactions`.

    Raises: InputError when a landing file, a folder or a column is missing or cannot be read, or when so much of a
    source is refused that publishing it would do harm (`refuse_unusable`).
    """
    spark, config, tables = context.spark, context.config.ingest, context.tables
    raw_items = read_source(
        spark,
        config.catalogue,
        catalogue_columns(config.catalogue.columns),
        "ingest.catalogue",
        config.catalogue.separator,
        lists=(config.catalogue.columns.categories, config.catalogue.columns.image),
    )
    raw_events = read_source(
        spark, config.interactions, interaction_columns(config.interactions.columns), "ingest.interactions"
    )
    files = list_files(spark, config.images.path)

    kept: list[DataFrame] = []

    def keep(df: DataFrame, level: StorageLevel = StorageLevel.MEMORY_AND_DISK) -> DataFrame:
        kept.append(df.persist(level))
        return kept[-1]

    try:
        items = keep(validate_catalogue(raw_items, config.catalogue))
        events = keep(validate_interactions(raw_events, accepted(items), config.interactions))
        within = context.config.stream.same_within_s
        streamed = keep(_streamed(tables, accepted(events), accepted(items), within))
        listed = _validated_users(context, config)
        users = None if listed is None else keep(listed)
        references = image_references(accepted(items))
        matched = keep(match_files(references, files, tables.read_or_empty(IMAGES), config.images))
        checked = keep(_decoded(matched, files, config, not tables.exists(IMAGES)), StorageLevel.DISK_ONLY)
        accounts = {
            "catalogue": record_account("catalogue", items),
            "interactions": record_account("interactions", events),
            "images": image_account(matched, checked),
        }
        refused = [
            quarantined(items, "catalogue", F.col("item_id")),
            quarantined(events, "interactions", F.concat_ws(" ", "user_id", "item_id")),
            quarantined(refused_images(matched), "images", F.col("item_id")),
            quarantined(refused_images(checked), "images", F.col("item_id")),
        ]
        if users is not None:
            accounts["users"] = record_account("users", users)
            refused.append(quarantined(users, "users", F.col("user_id")))
        # First of all, so that it tells what is wrong even if nothing else is published.
        quarantine = tables.overwrite(
            QUARANTINE, reduce(DataFrame.unionByName, refused), where="stage = 'ingest'"
        )
        vanished = [name for name, one in accounts.items() if one.total == 0 and _holds_rows(tables, name)]
        refuse_unusable(list(accounts.values()), vanished, config.max_refused_share)
        written = [
            tables.overwrite(ITEMS, accepted(items)),
            tables.overwrite(
                INTERACTIONS, accepted(events).select(INTERACTIONS.columns).unionByName(streamed)
            ),
            tables.overwrite(USERS, _known_users(accepted(events), streamed, users)),
            *write_segments(tables, config, users),
            # Last of all: a write to `images` makes Spark forget what it keeps of frames that were read from it.
            _write_images(tables, matched, checked),
        ]
        taken = streamed.count()
        of_log = written[1].rows - taken
        found = {"catalogue": written[0].rows, "interactions": of_log, "images": written[-1].rows}
        check_written(accounts, found, tables.read(QUARANTINE).where("stage = 'ingest'").count())
        metrics = {
            f"{one.source}_{name}": value
            for one in accounts.values()
            for name, value in (
                ("records", float(one.total)),
                ("refused", float(one.total - one.accepted)),
                ("refused_share", one.refused_share),
            )
        }
        notes = [str(one) for one in accounts.values()]
        if taken:
            notes.append(f"interactions: {taken:,} more that came over the stream and are not in the log")
        return StageResult([*written, quarantine], notes, metrics)
    finally:
        for df in kept:
            df.unpersist()


STAGE = Stage("ingest", "validate landing files into items, users, images, interactions and quarantine", run)


def _validated_users(context: StageContext, config: IngestConfig) -> DataFrame | None:
    if config.users.path is None:
        return None
    named = [name for name in (config.users.column, config.users.segment) if name is not None]
    raw = read_source(context.spark, config.users, named, "ingest.users")
    return validate_users(raw, config.users.column, config.users.segment)


def _holds_rows(tables: TableStore, source: str) -> bool:
    if source == "users":  # those whom only a list can have named: the log names the others anew
        acted = tables.read_or_empty(INTERACTIONS)
        return not tables.read_or_empty(USERS).join(acted, "user_id", "left_anti").isEmpty()
    table = {"catalogue": ITEMS, "interactions": INTERACTIONS, "images": IMAGES}[source]
    return not tables.read_or_empty(table).isEmpty()


def _streamed(tables: TableStore, events: DataFrame, items: DataFrame, within: float) -> DataFrame:
    """The live events, in the columns of `interactions`, that the log does not have, on items of the catalogue.

    Both have an event where their times, cut to multiples of `within` seconds (0: microseconds), are equal.
    """
    moment = F.expr(f"unix_micros(timestamp) div {max(1, round(within * 1e6))}").alias("_moment")
    live = tables.pinned_or_empty(LIVE_EVENTS).select(*INTERACTIONS.columns, moment)
    logged = events.select("user_id", "item_id", "event", moment)
    missing = live.join(logged, ["user_id", "item_id", "event", "_moment"], "left_anti")
    return missing.join(items, "item_id", "left_semi").select(INTERACTIONS.columns)


def _known_users(events: DataFrame, streamed: DataFrame, users: DataFrame | None) -> DataFrame:
    known = events.select("user_id").union(streamed.select("user_id"))
    return (known if users is None else known.union(accepted(users).select("user_id"))).distinct()


def write_segments(tables: TableStore, config: IngestConfig, users: DataFrame | None) -> list[Written]:
    """Nothing where no column of segments is named and none are there."""
    if users is not None and config.users.segment is not None:
        return [tables.overwrite(SEGMENTS, accepted(users).where("segment IS NOT NULL"))]
    before = tables.read_or_empty(SEGMENTS)
    return [] if before.isEmpty() else [tables.overwrite(SEGMENTS, before.limit(0))]


def _decoded(matched: DataFrame, files: DataFrame, config: IngestConfig, first_run: bool) -> DataFrame:
    """The matched files that are new or changed; each is read and decoded once, however many items show it."""
    fresh = matched.where("NOT known AND reason IS NULL").select("item_id", "path", "modified")
    recent = files.where(
        (F.col("bytes") <= config.images.max_bytes) & _may_be_fresh(matched, fresh, first_run)
    )
    pictures = recent.join(fresh.select("path"), "path", "left_semi")
    return decode_check(pictures, config.images.max_pixels).join(fresh.select("item_id", "path"), "path")


def _may_be_fresh(matched: DataFrame, fresh: DataFrame, first_run: bool) -> Column:
    """A predicate on `modified` by which Spark decides what to open, before it reads a byte.

    It holds for all that came after the newest picture in the table, and for the very times of older files that are
    `fresh` all the same: those refused in earlier runs, as a rule, and few.
    """
    # Counts of microseconds, which unlike a Python datetime mean the same in every time zone.
    time = F.unix_micros("modified")

    def moment(micros: int) -> Column:
        return F.timestamp_micros(F.lit(micros).cast("bigint"))

    newest = None if first_run else matched.where("known").agg(F.max(time)).collect()[0][0]
    if newest is None:
        return F.lit(True)
    older = fresh.where(time <= newest).select(time.alias("time")).distinct().orderBy("time")
    times = [row.time for row in older.limit(_OLDER_TIMES + 1).collect()]
    if len(times) > _OLDER_TIMES:
        return F.col("modified") >= moment(times[0])
    return reduce(or_, (F.col("modified") == moment(t) for t in times), F.col("modified") > moment(newest))


def _write_images(tables: TableStore, matched: DataFrame, checked: DataFrame) -> Written:
    """New pictures in, changed ones replaced, vanished ones out, in one commit."""
    new = accepted(checked).select(*IMAGES.columns)
    known = matched.where("known AND reason IS NULL").select(
        *(
            F.col(f.name) if f.name in matched.columns else F.lit(None).cast(f.dataType).alias(f.name)
            for f in IMAGES.schema.fields
        )
    )
    return tables.sync(IMAGES, new.unionByName(known), unchanged="new.content IS NULL")
