"""Runs the partitioned plan: fits it, judges it on a few queries, and searches shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import Broadcast, StorageLevel
from pyspark.sql import DataFrame

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.kernels.topk import PAD_KEY
from vizrec_spark.similar.admits import with_admits
from vizrec_spark.similar.blocks import pack_blocks
from vizrec_spark.similar.capping import Occupancy
from vizrec_spark.similar.centre import Centre, collect_centre
from vizrec_spark.similar.exact import exact_block_join
from vizrec_spark.similar.few import Few, fetched, nearest_of, numbers_in
from vizrec_spark.similar.fit_shards import learnt_by_shards, sized
from vizrec_spark.similar.footprint import shard_bytes
from vizrec_spark.similar.found import Found
from vizrec_spark.similar.quality import UNMEASURED, Recall, lists_of_rows, recall_interval, recalls
from vizrec_spark.similar.scoring import Metric, Nearest, squared_norms
from vizrec_spark.similar.search import rescored
from vizrec_spark.similar.shards import Method, Sharding, neighbors_by_shards, sharding
from vizrec_spark.similar.tuning import exact_work, shard_items, tuned_by
from vizrec_spark.stage import log


@contextmanager
def partitioned_search(
    vectors: DataFrame, n_items: int, items: DataFrame, config: SimilarConfig
) -> Iterator[Found | None]:
    """The look-alikes of all n_items `vectors` (item_id, vector), or None for none; persisted until the exit.

    Under method ``auto`` a setting that misses the target, when a few are searched for, gives way to the next dearer
    one, and in the end to the exact join. `items`: columns of table items, for the filters.

    Raises: as `admits.with_admits`; ConfigError where filters do not say the same twice.
    """
    if n_items == 0:
        yield None
        return
    with ExitStack() as kept:
        # In order of id, so that equally near ones come in that order, whatever the shuffle.
        admitted = with_admits(vectors, items, config.filters).sortWithinPartitions("item_id")
        vectors = _persisted(admitted, kept)
        ids = _persisted(vectors.select("item_id"), kept)
        centre = collect_centre(vectors)
        if centre.n_items != n_items:
            raise ConfigError(
                f"similar.filters.same: expected the same values whenever they are asked for, but {n_items:,} items "
                f"became {centre.n_items:,}: leave out what changes by itself, such as rand() or current_date()."
            )
        few = n_items <= max(2, config.exact_below if config.method == "auto" else 0)
        approximate = None
        if config.method != "exact" and not few:
            approximate = _approximate(vectors, ids, centre, config, kept)
        yield approximate or _exact(vectors, centre, config, kept)


def _exact(vectors: DataFrame, centre: Centre, config: SimilarConfig, kept: ExitStack) -> Found:
    blocks = _persisted(pack_blocks(vectors, block_rows=config.block_rows), kept)
    found = exact_block_join(
        blocks,
        blocks,
        k=config.k,
        metric=config.metric,
        block_rows=config.block_rows,
        filters=config.filters,
    )
    n_items = centre.n_items
    return Found(
        neighbors=found,
        plan="partitioned",
        method="exact",
        setting="all pairs",
        recall=UNMEASURED,
        candidates=n_items - 1.0,
        rerank=config.k,
        occupancy=Occupancy(n_items, 0, 0),
        sizes=np.array([n_items]),
        centre=centre,
        searched=n_items,
    )


def _approximate(
    vectors: DataFrame, ids: DataFrame, centre: Centre, config: SimilarConfig, kept: ExitStack
) -> Found | None:
    """The search by the cheapest method that reaches the target; under ``auto`` None where that is all pairs."""
    n_items, dimension = centre.n_items, len(centre.mean)
    spark = vectors.sparkSession
    learnt = learnt_by_shards(vectors, ids, n_items, config)
    evidence = learnt.evidence
    last: Found | None = None
    methods = ("cells", "lsh") if config.method == "auto" else (config.method,)
    for turn, choice in enumerate(tuned_by(evidence, methods, config)):
        if config.method == "auto" and choice.work >= exact_work(n_items, dimension):
            break
        method = Method(learnt.reduction, choice.generator, choice.rerank)
        made = sized(vectors, method, evidence.cap, evidence.drawn)
        cores = spark.sparkContext.defaultParallelism
        most = shard_items(dimension, evidence.width)
        dealt = sharding(made.method, made.sizes, least=cores, most_items=most, seed=config.seed)
        held = shard_bytes(
            residents=dealt.largest,
            dimension=dimension,
            width=evidence.width,
            probed=np.asarray(made.method.generator.probes(evidence.queries[:1])).shape[1],
        )
        log.info(
            "similar: %d shards of at most %s items (%s MiB), each vector goes to %.1f of them",
            *(dealt.shards, f"{dealt.largest:,}"),
            f"{held / 2**20:,.0f}",
            dealt.copies(evidence.queries),
        )
        shared = spark.sparkContext.broadcast(dealt)
        kept.callback(shared.destroy)
        # Others in each turn: the best of several tries on the same ones would look better than it is.
        judged = learnt.judging(turn)
        recall = _judged(vectors, judged, shared, config)
        log.info(
            "similar: %s (%s): recall@%d %.3f on %d items, %.3f expected",
            *(choice.method, choice.told, config.k, recall.mean, recall.n_queries, choice.recall),
        )
        reduction = learnt.reduction
        probes = np.asarray(
            made.method.generator.probes(reduction.located(reduction.candidates(judged.vectors)))
        )
        met = np.where(probes >= 0, made.sizes[np.maximum(probes, 0)], 0).sum(axis=1).mean()
        neighbors = neighbors_by_shards(vectors, shared, k=config.k, filters=config.filters)
        last = Found(
            neighbors=neighbors,
            plan="partitioned",
            method=choice.method,
            setting=choice.told,
            recall=recall,
            candidates=float(met),
            rerank=choice.rerank,
            occupancy=made.occupancy,
            sizes=made.sizes,
            centre=centre,
            searched=n_items,
        )
        if recall.mean >= config.target_recall:
            return last
    return None if config.method == "auto" else last


def _persisted(frame: DataFrame, kept: ExitStack) -> DataFrame:
    frame = frame.persist(StorageLevel.DISK_ONLY)
    kept.callback(frame.unpersist)
    return frame


def _judged(vectors: DataFrame, judged: Few, shared: Broadcast[Sharding], config: SimilarConfig) -> Recall:
    """Runs two jobs or three: the recall of the lists that the judged items would get."""
    true = nearest_of(judged, vectors, k=config.k, metric=config.metric, filters=config.filters)
    names = vectors.sparkSession.createDataFrame(judged.rows, "item_id string")
    found = neighbors_by_shards(vectors, shared, k=config.k, asked=names, filters=config.filters).toArrow()
    per_query = recalls_of_ids(judged, true, found, vectors, config.metric).tolist()
    return recall_interval(per_query, seed=config.seed) if per_query else UNMEASURED


def recalls_of_ids(judged: Few, true: pa.Table, found: pa.Table, vectors: DataFrame, metric: Metric):  # type: ignore[no-untyped-def]
    """`recalls` of lists of ids; both tables as `lists.NEIGHBORS_SCHEMA`. Runs a job where a list holds others than its
    true ones, whose scores are worked out anew."""
    columns = [table.column("neighbor_id").cast(pa.string()) for table in (true, found)]
    names = pc.unique(pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()))
    lists = lists_of_rows(
        numbers_in(judged.ids, found.column("item_id")), numbers_in(names, columns[1]), len(judged.ids)
    )
    shape = (len(judged.ids), int(true.column("rank").to_numpy().max(initial=1)))
    at = numbers_in(judged.ids, true.column("item_id")), true.column("rank").to_numpy() - 1
    exact = Nearest(np.full(shape, PAD_KEY, dtype=np.int64), *np.zeros((2, *shape), dtype=np.float32))
    exact.keys[at] = numbers_in(names, columns[0])
    exact.cosine[at], exact.distance[at] = (true.column(name).to_numpy() for name in ("cosine", "distance"))
    # The true ones of a query count by their ids; only the others need a score.
    own = np.array([np.isin(*rows) for rows in zip(lists, exact.keys, strict=True)], dtype=bool)
    asked = (lists != PAD_KEY) & ~own.reshape(lists.shape)
    others = names.take(pa.array(np.unique(lists[asked])))
    base = fetched(vectors, others) if len(others) else Few(others, judged.vectors[:0])
    place = np.full(len(names) + 1, PAD_KEY, dtype=np.int64)
    place[numbers_in(names, pa.chunked_array([base.ids]))] = np.arange(len(base.ids))
    numbers = np.where(asked, place[lists], PAD_KEY)
    scores = rescored(
        judged.vectors,
        base.vectors,
        squared_norms(base.vectors) if len(others) else np.zeros(1, dtype=np.float32),
        numbers,
        lists.shape[1],
        metric,
        sort=False,
    )
    return recalls(lists, scores.score(metric), exact, metric)
