"""The search by shards on Arrow batches, without Spark, against the search of all at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from vizrec_spark.config.models.similar import FiltersConfig
from vizrec_spark.kernels.candidates import EVERYTHING, NEVER_OFFERED, Admission
from vizrec_spark.kernels.hyperplanes import draw_tables
from vizrec_spark.kernels.inverted import invert
from vizrec_spark.similar.admits import ADMITS_TYPE, admission_between, allowed
from vizrec_spark.similar.arrow import matrix_to_vectors
from vizrec_spark.similar.capping import capped
from vizrec_spark.similar.generators import Cells, Generator, Hashes
from vizrec_spark.similar.lists import _merge_items
from vizrec_spark.similar.reduction import fit_reduction
from vizrec_spark.similar.scoring import Metric, squared_norms
from vizrec_spark.similar.search import Searcher
from vizrec_spark.similar.shards import Method, _searched, _sent, sharding
from vizrec_spark.similar.splits import Drawn

N, D, K, RERANK = 700, 32, 6, 20


def cut(table: pa.Table, size: int) -> Iterator[pa.RecordBatch]:
    for at in range(0, table.num_rows, size):
        yield from table.slice(at, size).combine_chunks().to_batches()


FILTERS = FiltersConfig(same=("kind",), price_band=0.5, exclude="pairs", where="stock")


def some_admits(ids: pa.Array) -> tuple[pa.StructArray, Admission]:
    """Kinds, prices (some unknown), stock and excluded pairs: as they travel, and of all items at once."""
    generator = np.random.default_rng(1)
    code = generator.integers(0, 3, N).astype(np.int32)
    offered = generator.random(N) < 0.8
    price = generator.uniform(10, 60, N).astype(np.float32)
    known = generator.random(N) < 0.9
    banned = [np.sort(generator.choice(N, 9, replace=False)) for _ in range(N)]
    travelling = pa.StructArray.from_arrays(
        [
            pa.array(code),
            pa.array(offered),
            pa.array(price, mask=~known),
            pa.array(
                [[ids[int(n)].as_py() for n in row] if at % 2 else None for at, row in enumerate(banned)]
            ),
        ],
        fields=list(ADMITS_TYPE),
    )
    price[~known] = np.nan
    lengths = np.where(np.arange(N) % 2, 9, 0)
    return travelling, Admission(
        np.where(offered, code, NEVER_OFFERED).astype(np.int32),
        *(code, price, price * np.float32(0.5), price * np.float32(1.5)),
        np.concatenate([row for at, row in enumerate(banned) if at % 2]).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


@pytest.mark.parametrize(("kind", "metric"), [("cells", "cosine"), ("lsh", "euclidean")])
@pytest.mark.parametrize(("one_sided", "filtered"), [(False, False), (True, False), (False, True)])
def test_shards_find_what_one_search_finds(
    kind: str, metric: Metric, one_sided: bool, filtered: bool
) -> None:
    generator = np.random.default_rng(0)
    matrix = (generator.standard_normal((N, D)) * (np.arange(D) + 1.0) ** -0.7 + 0.3).astype(np.float32)
    numbers, salts = np.arange(N), generator.integers(-(2**63), 2**63, N)
    reduction = fit_reduction(matrix, 10, metric, seed=0)
    points = reduction.candidates(matrix)
    located = reduction.located(points)
    made: Generator = Cells(located[:9].copy(), 4)
    if kind == "lsh":
        m = located.shape[1]
        made = Hashes(draw_tables(m, 3, 3, seed=1), 3, generator.standard_normal((m, 3), np.float32))
    homes = made.homes(located, numbers, salts)
    made, homes, _ = capped(made, located, salts, homes, 60, Drawn(located, salts))
    lists = invert(homes, made.cells)
    whole = Searcher(reduction, made, lists, points, matrix, squared_norms(matrix), RERANK)
    asks = numbers % 97 == 0 if one_sided else numbers >= 0  # few, so that some batches hold none
    ids = pa.array([f"i{number:03d}" for number in numbers])
    admits, admission = some_admits(ids)
    admission = admission if filtered else EVERYTHING
    wanted = whole.nearest(matrix[asks], K, numbers[asks], admission.of_queries(numbers[asks]))

    method = Method(reduction, made, RERANK)
    dealt = sharding(method, lists.sizes, least=6, most_items=150, seed=0)
    rows = pa.table(
        {"item_id": ids, "vector": matrix_to_vectors(matrix), "hash": salts, "asks": pa.array(asks)}
    )
    rows = rows.append_column("admits", admits) if filtered else rows
    rows = rows.take(generator.permutation(N))
    sent = pa.Table.from_batches([_sent(batch, dealt) for batch in cut(rows, 97)])
    residents = sent.filter(pa.compute.invert(sent["visits"]))
    assert (
        len(sent) > len(residents) >= N and residents["shard"].value_counts().field(1).to_numpy().max() <= 150
    )
    arriving = sent.sort_by([("shard", "ascending"), ("visits", "ascending")])
    found = pa.Table.from_batches(list(_searched(cut(arriving, 61), method, FILTERS))).sort_by("item_id")
    [batch] = found.combine_chunks().to_batches()
    merged = _merge_items(batch, K, metric, RERANK).to_pydict()
    got = {
        (item, rank): other
        for item, rank, other in zip(merged["item_id"], merged["rank"], merged["neighbor_id"], strict=True)
    }
    true = {
        (ids[int(row)].as_py(), place + 1): ids[int(key)].as_py()
        for row, keys in zip(numbers[asks], wanted.keys, strict=True)
        for place, key in enumerate(keys)
        if key >= 0
    }
    assert got == true and len(true) > (2 if filtered else 5) * asks.sum()
    assert merged["cosine"] == pytest.approx(
        [wanted.cosine[at] for at in zip(*np.nonzero(wanted.keys >= 0), strict=True)]
    )


def test_what_travels_says_the_same_as_what_is_gathered() -> None:
    ids = pa.array([f"i{number:03d}" for number in range(N)])
    admits, admission = some_admits(ids)
    asked, base = np.arange(3, 300, 7), np.random.default_rng(2).permutation(N)[:400]
    between = admission_between(
        admits.take(pa.array(asked)), admits.take(pa.array(base)), ids.take(pa.array(base)), FILTERS
    )
    may, whole = allowed(between, len(asked), len(base)), allowed(admission.of_queries(asked), len(asked), N)
    assert may is not None and whole is not None and 0 < may.sum() < may.size / 4
    np.testing.assert_array_equal(may, whole[:, base])
    assert allowed(admission_between(None, None, ids, FiltersConfig()), 2, 3) is None
