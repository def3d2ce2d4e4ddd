"""The nearest look-alikes of an item within each category, each searched for among the members of that category.

A list of nearest items that is cut by category has no rows for a category that none of them is in. So every category is
a search of its own: the cells of the index that hold members of it, of which a query visits as many as it does of all
cells, or all its members where they are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.kernels.candidates import EVERYTHING, Admission
from vizrec_spark.kernels.inverted import InvertedLists, invert
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.fit import Fitted, Judged, recalls_of_numbers
from vizrec_spark.similar.generators import Cells, Flat, Generator
from vizrec_spark.similar.index import CHUNK, Index, exact_index
from vizrec_spark.similar.index_file import (
    admission_arrays,
    admission_in,
    load_arrays,
    open_index,
    save_arrays,
)
from vizrec_spark.similar.lists import NEIGHBORS_SCHEMA, neighbors_batch
from vizrec_spark.similar.quality import UNMEASURED, Recall, recall_interval
from vizrec_spark.similar.search import Searcher
from vizrec_spark.similar.shared import SharedFolder, evenly, over_rows, part_of, run_of
from vizrec_spark.stage import log

BY_CATEGORY_SCHEMA = StructType([*NEIGHBORS_SCHEMA.fields, StructField("category", StringType(), False)])
"""`lists.NEIGHBORS_SCHEMA` by category: rank counts the neighbours within it."""

FEW = 8192
"""Members of a category up to which all of them are compared."""


@dataclass(frozen=True)
class Categories:
    """names: c strings, ascending; members: the numbers of each one's items. An item may be in several, or in none."""

    names: pa.Array
    members: InvertedLists


def categories_of(ids: pa.Array, items: DataFrame) -> Categories:
    """Runs a job: the categories of the items `ids` (ascending), from `items` (item_id, categories array<string>).

    The driver holds some 40 bytes for each item and category of it.
    """
    rows = items.select("item_id", F.explode("categories").alias("category")).where("category IS NOT NULL")
    table = rows.distinct().toArrow()
    number = pc.index_in(table.column("item_id").cast(pa.string()), value_set=ids).combine_chunks()
    known = number.is_valid()
    category = table.column("category").cast(pa.string()).combine_chunks().filter(known)
    names = pc.unique(category)
    names = names.take(pc.sort_indices(names))
    code = pc.index_in(category, value_set=names).to_numpy().astype(np.int64)
    numbers = number.filter(known).to_numpy().astype(np.int64)
    order = np.lexsort((numbers, code))
    starts = np.zeros(len(names) + 1, dtype=np.int64)
    np.cumsum(np.bincount(code, minlength=len(names)), out=starts[1:])
    return Categories(names, InvertedLists(starts, numbers[order].astype(np.int32)))


def nearest_by_category(
    spark: SparkSession,
    index_path: str,
    categories: Categories,
    everyone: bool,
    *,
    k: int,
    parts: int,
    admission: Admission = EVERYTHING,
) -> DataFrame:
    """Up to k look-alikes of every item of the index in each of the `categories` (`BY_CATEGORY_SCHEMA`).

    `everyone`: all members of a category are compared, not those of the nearest of its cells. Work grows as items times
    their categories; a task holds the members of one category at a time.
    """
    given = admission_arrays(admission)
    given["category_starts"], given["category_members"] = (
        categories.members.starts,
        categories.members.members,
    )
    facts = save_arrays(Path(index_path).parent, given, {"categories": categories.names.to_pylist()})

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        searcher, ids, order = open_index(index_path)
        arrays, told = load_arrays(facts)
        admission = admission_in(arrays)
        share = order[run_of(len(order), part_of(batches), parts)]
        cells = None if everyone else _cells_of(searcher, len(ids))
        starts, members = arrays["category_starts"], arrays["category_members"]
        for code, name in enumerate(told["categories"]):
            within = members_searcher(searcher, members[starts[code] : starts[code + 1]], cells, k)
            for rows in evenly(share, CHUNK):
                if not len(rows):
                    continue
                nearest = within.nearest(searcher.vectors[rows], k, rows, admission.of_queries(rows))
                batch = neighbors_batch(ids.take(pa.array(rows)), ids, nearest)
                yield batch.append_column("category", pa.repeat(name, batch.num_rows))

    return over_rows(spark, parts, search, BY_CATEGORY_SCHEMA)


def members_searcher(
    searcher: Searcher, members: NDArray[np.int32], cells: NDArray[np.int32] | None, k: int
) -> Searcher:
    """`searcher` among `members` (ascending item numbers) alone; `cells`: the cell of every item, None to visit all."""
    generator: Generator
    if cells is None or len(members) <= FEW:
        generator = Flat(len(members))
        edges = np.minimum(np.arange(generator.cells + 1) * generator.block, len(members)).astype(np.int64)
        lists = InvertedLists(edges, members)
    else:
        assert isinstance(searcher.generator, Cells)
        held, home = np.unique(cells[members], return_inverse=True)
        # As many as among all cells, and so many that k can be found.
        probed = max(searcher.generator.probed, k)
        generator = Cells(searcher.generator.seen[held], probed)
        local = invert(home.astype(np.int32), len(held))
        lists = InvertedLists(local.starts, members[local.members])
    rerank = min(max(searcher.rerank, k), len(members))
    return replace(searcher, generator=generator, lists=lists, rerank=max(rerank, 1))


@dataclass(frozen=True)
class Way:
    """An index, and whether all members of a category are compared in it."""

    index: Index
    everyone: bool


def judged_by_category(
    fitted: Fitted, shared: SharedFolder, categories: Categories, admission: Admission, config: SimilarConfig
) -> tuple[Way, Recall]:
    """The cheapest way to search by category whose recall reaches `config.target_recall`, and that recall.

    Judged are the items that the index was judged on, in each category that has a true neighbour for them: the mean of
    an item's recalls is the item's. In the end all pairs are compared.
    """
    exact = Way(exact_index(shared, config.metric, config.per_category), True)
    if fitted.judged is None:
        return exact, UNMEASURED
    rows = fitted.judged.rows
    for everyone in (False, True):
        way = Way(fitted.index, everyone)
        measured = _recalls(way, exact, rows, categories, admission, config)
        recall = recall_interval(measured, seed=config.seed) if measured else UNMEASURED
        log.info(
            "similar: by category, %s: recall@%d %.3f on %d items",
            *("all members compared" if everyone else "nearest cells", config.per_category, recall.mean),
            recall.n_queries,
        )
        if recall.mean >= config.target_recall:
            return way, recall
    return exact, UNMEASURED


def _recalls(
    way: Way,
    exact: Way,
    rows: NDArray[np.int64],
    categories: Categories,
    admission: Admission,
    config: SimilarConfig,
) -> list[float]:
    searcher, oracle, k = way.index.searcher(), exact.index.searcher(), config.per_category
    cells = None if way.everyone else _cells_of(searcher, way.index.shared.n_items)
    allowed = admission.of_queries(rows)
    total, asked = np.zeros(len(rows)), np.zeros(len(rows))
    queries = searcher.vectors[rows]
    for code in range(len(categories.names)):
        members = categories.members.of(code)
        found = members_searcher(searcher, members, cells, k).nearest(queries, k, rows, allowed)
        true = members_searcher(oracle, members, None, k).nearest(queries, k, rows, allowed)
        there = (true.keys != PAD_KEY).any(axis=1)
        total[there] += recalls_of_numbers(found.keys, way.index.shared, Judged(rows, true), config.metric)
        asked += there
    return (total[asked > 0] / asked[asked > 0]).tolist()


def _cells_of(searcher: Searcher, n_items: int) -> NDArray[np.int32] | None:
    """The one cell of each item, where there is one that can be told by its centroid."""
    if not isinstance(searcher.generator, Cells):
        return None
    cells = np.empty(n_items, dtype=np.int32)
    cells[searcher.lists.members] = np.repeat(np.arange(len(searcher.lists.sizes)), searcher.lists.sizes)
    return cells
