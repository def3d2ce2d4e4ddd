"""What comes before a search: the plan, samples, numbers of ids, and an index through its files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vizrec_spark.config.models import Config
from vizrec_spark.errors import ConfigError, DiskSpaceError
from vizrec_spark.kernels.candidates import Admission
from vizrec_spark.kernels.hyperplanes import draw_tables
from vizrec_spark.kernels.inverted import invert
from vizrec_spark.similar.capping import capped
from vizrec_spark.similar.footprint import search_bytes
from vizrec_spark.similar.generators import Cells, Flat, Generator, Hashes
from vizrec_spark.similar.index import exact_index
from vizrec_spark.similar.index_file import (
    _read,
    _written,
    admission_arrays,
    admission_in,
    load_arrays,
    open_index,
    save_arrays,
    save_index,
)
from vizrec_spark.similar.numbering import numbered
from vizrec_spark.similar.plan import Sizes, choose_plan, memory, refuse_impossible
from vizrec_spark.similar.quality import query_counts
from vizrec_spark.similar.reduction import Reduction, fit_reduction
from vizrec_spark.similar.sampling import draw_samples
from vizrec_spark.similar.scoring import squared_norms
from vizrec_spark.similar.search import Searcher
from vizrec_spark.similar.shards import Method, sharding
from vizrec_spark.similar.shared import SharedFolder
from vizrec_spark.similar.splits import Drawn
from vizrec_spark.similar.tuning import Evidence, Given, cell_count, tuned


def test_the_plan_follows_from_sizes() -> None:
    config = Config().similar
    small, large = (Sizes(10, size, 10 * size, 1000, True, 10**6) for size in (900, 1100))
    assert [choose_plan(sizes, config) for sizes in (small, large)] == ["shared", "partitioned"]
    cluster = Sizes(10, 900, 9000, 1000, False, 10**6)
    assert choose_plan(cluster, config) == "partitioned"
    # Several hosts that write into one mapped file would lose each other's pages.
    demanded = config.model_copy(update={"plan": "shared", "shared_dir": "/mnt/all"})
    with pytest.raises(ConfigError, match=r"local\["):
        refuse_impossible("spark://host:7077", demanded)
    with pytest.raises(ConfigError, match="per_category"):
        choose_plan(cluster, config.model_copy(update={"per_category": 3}))
    with pytest.raises(ConfigError, match="flat"):
        choose_plan(cluster, config.model_copy(update={"method": "flat"}))
    full = Sizes(10, 900, 9000, 1000, True, 9000)
    assert choose_plan(full, config) == "partitioned"
    with pytest.raises(DiskSpaceError, match="/mnt/all"):
        choose_plan(full, demanded)


def test_memory_is_what_the_container_may_use(tmp_path: Path) -> None:
    limit, none = tmp_path / "limit", tmp_path / "none"
    limit.write_text("1048576\n")
    none.write_text("max\n")
    assert memory([none, limit, tmp_path / "missing"]) == 2**20
    assert memory([none]) > 2**20


@pytest.mark.parametrize(("n", "counts"), [(3, (2, 1)), (100, (50, 50)), (150, (75, 75)), (5000, (200, 400))])
def test_nobody_is_both_tuned_and_judged_on(n: int, counts: tuple[int, int]) -> None:
    config = Config().similar
    assert query_counts(n, config.tuning_queries, config.recall_queries) == counts
    samples = draw_samples(some_hashes(n), config)
    turns = [samples.judging(turn) for turn in range(3)]
    assert len(samples.tuning) == counts[0] and {len(set(rows)) for rows in turns} == {counts[1]}
    assert not set(samples.tuning.tolist()) & set(np.concatenate(turns).tolist())
    # Each attempt is judged on others, while there are.
    assert len(set(np.concatenate(turns))) == min(n - counts[0], 3 * counts[1])


def test_the_first_to_learn_from_are_of_all_items() -> None:
    learning = draw_samples(some_hashes(100_000), Config().similar).learning
    assert len(set(learning.tolist())) == len(learning) == 48 * cell_count(100_000)
    assert np.quantile(learning[:500], 0.9) > 80_000


def some_hashes(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(-(2**63), 2**63, n)


def test_numbers_are_found_where_hashes_collide() -> None:
    ids = [f"i{n}" for n in np.random.default_rng(0).permutation(200)]
    hashes = np.array([int(name[1:]) % 7 for name in ids], dtype=np.int64)
    numbering = numbered(pa.array(ids), hashes)
    assert numbering.ids.to_pylist() == sorted(ids)
    asked = [*ids[:50], "not there"]
    found = numbering.of(pa.array(asked), np.append(hashes[:50], 3))
    assert found.tolist() == [*(sorted(ids).index(name) for name in ids[:50]), -1]
    assert numbering.of(pa.array(["z"]), np.array([99])).tolist() == [-1]


def _split(generator: Generator, located: np.ndarray) -> Generator:
    salts = some_hashes(len(located))
    homes = generator.homes(located, np.arange(len(located)), salts)
    made = capped(generator, located, salts, homes, 30, Drawn(located, salts))[0]
    assert isinstance(made, Cells | Hashes) and len(made.splits.crowded)
    return made


@pytest.mark.parametrize("kind", ["flat", "cells", "lsh"])
def test_a_generator_comes_back_from_its_files(tmp_path: Path, kind: str) -> None:
    located = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    cutting = np.random.default_rng(5).standard_normal((8, 3), np.float32)
    made: dict[str, Generator] = {
        "flat": Flat(200, 64),
        "cells": _split(Cells(located[:5], 4), located),
        "lsh": _split(Hashes(draw_tables(8, 3, 2, seed=2), 4, cutting), located),
    }
    arrays, facts = load_arrays(save_arrays(tmp_path, *_written(made[kind])))
    read = _read(arrays, facts)
    np.testing.assert_array_equal(read.probes(located), made[kind].probes(located))
    items = located, np.arange(200), some_hashes(200)
    np.testing.assert_array_equal(read.homes(*items), made[kind].homes(*items))


def test_an_index_comes_back_from_its_files(tmp_path: Path) -> None:
    matrix = np.random.default_rng(2).standard_normal((60, 8)).astype(np.float32)
    shared = SharedFolder(str(tmp_path), 60, 8)
    for name, values in (("vectors", matrix), ("squares", squared_norms(matrix)[:, None])):
        shared.create(name, values.shape[1])
        shared.matrix(name, values.shape[1], write=True)[:] = values
    shared.number(numbered(pa.array([f"{n:02d}" for n in range(60)]), np.arange(60)))
    index = exact_index(shared, "euclidean", 5)
    first, second = save_index(index), save_index(index)
    assert first != second
    searcher, ids, order = open_index(first)
    wanted = index.searcher().nearest(matrix, 5, np.arange(60))
    np.testing.assert_array_equal(searcher.nearest(matrix, 5, np.arange(60)).keys, wanted.keys)
    assert ids.to_pylist()[7] == "07" and sorted(order.tolist()) == list(range(60))
    admission = Admission(banned=np.arange(3, dtype=np.int32), banned_from=np.arange(4))
    back = admission_in(load_arrays(save_arrays(tmp_path, admission_arrays(admission), {}))[0])
    np.testing.assert_array_equal(back.banned, admission.banned)
    assert len(back.group) == 0


@pytest.mark.parametrize("kind", ["cells", "lsh"])
def test_no_shard_has_more_residents_than_it_may(kind: str) -> None:
    generator = np.random.default_rng(4)
    points = generator.standard_normal((60, 6)).astype(np.float32)
    cells = (
        Cells(points, 5)
        if kind == "cells"
        else Hashes(draw_tables(6, 2, 5, seed=1), 3, generator.standard_normal((6, 2), np.float32))
    )
    sizes = generator.integers(0, 90, cells.cells)
    method = Method(Reduction("cosine", None, np.zeros(6, np.float32)), cells, 10)
    for least, most in ((1, 100), (4, 10**6), (500, 100)):
        dealt = sharding(method, sizes, least=least, most_items=most, seed=0)
        residents = np.bincount(dealt.shard_of, weights=sizes, minlength=dealt.shards)
        assert residents.max() == dealt.largest <= most and residents.sum() == sizes.sum()
        assert dealt.shards >= 0.9 * min(least, np.count_nonzero(sizes))
    near = dealt.copies(points)
    assert 1 <= near <= (5 if kind == "cells" else 6)


def test_cells_are_counted_as_they_will_be_split() -> None:
    generator = np.random.default_rng(3)
    sample = generator.standard_normal((600, 4)).astype(np.float32)
    sample[:400] = sample[0] + 0.01 * sample[:400]  # most of them in one cell
    n_items, cap = 6000, 300
    rank = np.zeros((20, 2), dtype=np.int64)
    drawn = Drawn(sample, some_hashes(600))
    evidence = Evidence(
        sample[:20], sample[:40].reshape(20, 2, 4), rank == 0, rank, rank, drawn, n_items, 64, 16, cap
    )
    choice = tuned(evidence, ("cells",), 0.5, 2, Given(cells=10, probes=1), seed=0)[0]
    assert choice.candidates <= cap * 1.01
    homes = choice.generator.homes(sample, np.arange(600), drawn.salts)
    assert invert(homes, choice.generator.cells).sizes.max() * 10 > cap


def test_a_search_takes_no_more_memory_than_its_formula() -> None:
    generator = np.random.default_rng(6)
    n, d, cells, probed, rerank, k = 20_000, 256, 600, 40, 100, 50
    matrix = generator.standard_normal((n, d)).astype(np.float32)
    reduction = fit_reduction(matrix[:2000], 96, "cosine", seed=0)
    points = reduction.candidates(matrix)
    located = reduction.located(points)
    found = Cells(located[:cells].copy(), probed)
    lists = invert(found.homes(located, np.arange(n), np.arange(n)), cells)
    search = Searcher(reduction, found, lists, points, matrix, squared_norms(matrix), rerank)
    rows = np.arange(4096)
    search.nearest(matrix[rows[:10]], k, rows[:10])  # compiles
    tracemalloc.start()
    search.nearest(matrix[rows], k, rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    largest = int(lists.sizes.max())
    told = search_bytes(
        queries=4096,
        dimension=d,
        width=96,
        cells=cells,
        probed=probed,
        rerank=rerank,
        largest=largest,
        k=k,
    )
    assert told / 4 < peak <= told
