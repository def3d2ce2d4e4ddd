"""What a Python worker's search takes in memory, from what it allocates: an upper bound, all of it at the same time."""

from __future__ import annotations

from vizrec_spark.similar.reduction import LOCATING


def search_bytes(
    *, queries: int, dimension: int, width: int, cells: int, probed: int, rerank: int, largest: int, k: int
) -> int:
    """Bytes for so many queries that are searched for together in `cells` cells, the largest of `largest` members.

    probed: the cells that a query looks into, of all tables; width: numbers in a reduced point.
    """
    vectors = 3 * 4 * dimension  # as they lie, as unit vectors, and one in passing
    points = 4 * (3 * width + 2 * LOCATING)
    finding = 16 * cells  # affinities, their negatives, and the order of the cells (int64)
    asking = 32 * probed  # the cells of a query, and all queries in the order of their cells
    heaps = 12 * rerank
    scoring = 72 * rerank + 120 * k
    block = 4 * largest  # scores of the queries that look into one cell
    each = vectors + points + finding + asking + heaps + scoring + block
    return queries * each + 4 * largest * width


def index_bytes(*, n_items: int, dimension: int, width: int, cells: int, tables: int) -> int:
    """Bytes of an index that a worker has opened, beside the pages of the files that it maps."""
    lists = 4 * n_items * tables + 8 * (cells + 1)
    order = 8 * n_items
    return lists + order + 4 * dimension * width + 3 * 4 * cells * LOCATING


def shard_bytes(*, residents: int, dimension: int, width: int, probed: int) -> int:
    """Bytes of the residents of a shard: their vectors as they came and as a matrix, points, cells and probes."""
    return residents * (4 * (2 * dimension + 2 * width + 2) + 12 * probed + 200)
