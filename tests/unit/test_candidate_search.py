"""The search on arrays against brute force: probing, filters, cells, hashes, reduction, tuning."""

from __future__ import annotations

import numpy as np
import pytest

from vizrec_spark.kernels.candidates import ANY_GROUP, NEVER_OFFERED, Admission, pair_products, probe_lists
from vizrec_spark.kernels.components import components
from vizrec_spark.kernels.hyperplanes import draw_tables, home_buckets, most_probes, probed_buckets
from vizrec_spark.kernels.inverted import invert
from vizrec_spark.kernels.kmeans import fit_centroids, nearest_centroid, nearest_centroids
from vizrec_spark.kernels.projection import fit_projection
from vizrec_spark.similar import categories
from vizrec_spark.similar.capping import capped, sizes_after
from vizrec_spark.similar.generators import Cells, Flat, Generator, Hashes
from vizrec_spark.similar.reduction import fit_reduction
from vizrec_spark.similar.scoring import Metric, squared_norms
from vizrec_spark.similar.search import Searcher
from vizrec_spark.similar.splits import Drawn
from vizrec_spark.similar.tuning import Evidence, Given, tuned

N, D = 1500, 40


def nested(rows: int = N, dimension: int = D, seed: int = 0) -> np.ndarray:
    """Vectors with a falling spectrum and a shared mean, each near an earlier one."""
    generator = np.random.default_rng(seed)
    latent = generator.standard_normal((rows, dimension))
    for row in range(20, rows):
        step = generator.uniform(0.3, 0.7)
        latent[row] = np.sqrt(1 - step**2) * latent[generator.integers(row)] + step * latent[row]
    spread = (np.arange(dimension) + 1.0) ** -0.8
    return (latent * spread + generator.random(dimension)).astype(np.float32)


def brute(matrix: np.ndarray, k: int, metric: Metric) -> np.ndarray:
    x = matrix.astype(np.float64)
    if metric == "cosine":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = np.square(x[:, None, :] - x[None, :, :]).sum(axis=2) if len(x) < 600 else _far(x)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, :k]


def _far(x: np.ndarray) -> np.ndarray:
    squares = np.square(x).sum(axis=1)
    return squares[:, None] + squares[None, :] - 2 * x @ x.T


def searcher(
    matrix: np.ndarray, generator: Generator, metric: Metric, rerank: int, dims: int = D
) -> Searcher:
    reduction = fit_reduction(matrix, dims, metric, seed=0)
    points = reduction.candidates(matrix)
    numbers = np.arange(len(matrix))
    homes = generator.homes(reduction.located(points), numbers, numbers)
    lists = invert(homes, generator.cells)
    return Searcher(reduction, generator, lists, points, matrix, squared_norms(matrix), rerank)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_flat_search_is_brute_force(metric: Metric) -> None:
    matrix = nested()
    found = searcher(matrix, Flat(N, block=256), metric, 30).nearest(matrix, 10, np.arange(N))
    assert np.mean(found.keys == brute(matrix, 10, metric)) > 0.999
    pair = matrix[0].astype(np.float64), matrix[found.keys[0, 0]].astype(np.float64)
    lengths = np.linalg.norm(pair[0]) * np.linalg.norm(pair[1])
    assert found.cosine[0, 0] == pytest.approx(pair[0] @ pair[1] / lengths, abs=1e-5)
    assert found.distance[0, 0] == pytest.approx(np.linalg.norm(pair[0] - pair[1]), abs=1e-4)


def test_probing_meets_exactly_the_members_of_the_probed_cells() -> None:
    generator = np.random.default_rng(1)
    points = generator.standard_normal((300, 8)).astype(np.float32)
    homes = generator.integers(0, 12, (300, 2)).astype(np.int32)
    homes[:, 1] = 12 + (homes[:, 1] % 5)
    probes = np.stack([generator.permutation(17)[:4] for _ in range(50)]).astype(np.int32)
    probes[3, 1] = -1
    own = np.arange(50)
    heaps = probe_lists(points[:50], probes, points, invert(homes, 17), 9, own, repeats=True)
    scores, names = heaps.best()
    for query in range(50):
        met = np.flatnonzero(np.isin(homes, probes[query][probes[query] >= 0]).any(axis=1))
        met = met[met != query]
        wanted = met[np.argsort(-(points[met] @ points[query]), kind="stable")][:9]
        np.testing.assert_array_equal(names[query][names[query] >= 0], wanted)
        np.testing.assert_allclose(scores[query][: len(wanted)], points[wanted] @ points[query], rtol=1e-5)


def test_admission_is_a_filter_before_the_best_are_taken() -> None:
    generator = np.random.default_rng(2)
    points = generator.standard_normal((400, 6)).astype(np.float32)
    group = generator.integers(0, 4, 400).astype(np.int32)
    price = generator.uniform(1, 100, 400).astype(np.float32)
    price[5] = np.nan
    offered = group.copy()
    offered[::7] = NEVER_OFFERED
    wanted = group.copy()
    wanted[1] = ANY_GROUP
    banned = [np.sort(generator.choice(400, 30, replace=False)) for _ in range(400)]
    starts = np.concatenate([[0], np.cumsum([len(b) for b in banned])]).astype(np.int64)
    admission = Admission(
        offered, wanted, price, price * 0.5, price * 1.5, np.concatenate(banned).astype(np.int32), starts
    )
    rows = np.array([1, 5, 17, 200, 399])
    lists, probes = invert(np.zeros(400, dtype=np.int32), 1), np.zeros((5, 1), dtype=np.int32)
    heaps = probe_lists(
        points[rows], probes, points, lists, 20, rows, admission.of_queries(rows), repeats=False
    )
    for row, names in zip(rows, heaps.best()[1], strict=True):
        allowed = (offered >= 0) & ((wanted[row] < 0) | (offered == wanted[row]))
        if not np.isnan(price[row]):
            allowed &= (price >= price[row] * 0.5) & (price <= price[row] * 1.5)
        allowed[banned[row]] = False
        allowed[row] = False
        kept = np.flatnonzero(allowed)
        best = kept[np.argsort(-(points[kept] @ points[row]), kind="stable")][:20]
        np.testing.assert_array_equal(names[names >= 0], best)


def test_a_category_is_searched_as_a_catalogue_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = nested()
    units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    reduction = fit_reduction(matrix, 24, "cosine", seed=0)
    located = reduction.located(reduction.candidates(matrix))
    search = searcher(matrix, Cells(fit_centroids(located, 60, seed=0), 12), "cosine", 30, dims=24)
    cells = np.empty(N, dtype=np.int32)
    cells[search.lists.members] = np.repeat(np.arange(60), search.lists.sizes)
    rare, common = np.array([7, 1203], np.int32), np.arange(0, N, 3, dtype=np.int32)
    monkeypatch.setattr(categories, "FEW", 100)
    for members, least in ((rare, 1.0), (common, 0.8)):
        within = categories.members_searcher(search, members, cells, 8)
        assert isinstance(within.generator, Cells if members is common else Flat)
        found = within.nearest(matrix, 8, np.arange(N)).keys
        scores = units @ units[members].T
        scores[np.arange(N)[:, None] == members] = -2
        true = members[np.argsort(-scores, axis=1)[:, :8]]
        others = 8 if members is common else 1
        assert ((found >= 0).sum(axis=1) >= others).all() and np.isin(found[found >= 0], members).all()
        hit = [np.isin(t[:others], f).mean() for t, f in zip(true, found, strict=True)]
        assert np.mean(hit) >= least


def test_a_pair_scores_the_same_in_any_company() -> None:
    generator = np.random.default_rng(3)
    base = generator.standard_normal((50, 77)).astype(np.float32)
    numbers = generator.integers(-1, 50, (20, 6))
    found = pair_products(base[:20], base, numbers)
    alone = pair_products(base[7:8], base, numbers[7:8, 2:3])
    assert found[7, 2] == alone[0, 0]
    exact = np.einsum("qd,qmd->qm", base[:20].astype(float), base[np.maximum(numbers, 0)].astype(float))
    np.testing.assert_allclose(found, np.where(numbers >= 0, exact, 0), atol=1e-4)


def test_the_projection_keeps_the_mean_and_the_largest_variance() -> None:
    matrix = nested()
    basis = fit_projection(matrix, 12, seed=0)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-5)
    mean = matrix.mean(axis=0)
    np.testing.assert_allclose(np.abs(basis[:, 0] @ mean), np.linalg.norm(mean), rtol=1e-5)
    rest = matrix - np.outer(matrix @ basis[:, 0], basis[:, 0])
    rest -= rest.mean(axis=0)
    best = np.linalg.svd(rest, compute_uv=False)[:11]
    kept = np.linalg.norm(rest @ basis[:, 1:], axis=0)
    np.testing.assert_allclose(kept, best, rtol=0.02)


def some_hashes(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(-(2**63), 2**63, n)


@pytest.mark.parametrize("kind", ["cells", "lsh"])
def test_crowded_cells_are_cut_by_one_rule_and_counted(kind: str) -> None:
    located = nested(800, 16)
    located -= located.mean(axis=0)
    located[500:700] = located[3]  # one placeholder picture, which no direction parts
    numbers, salts = np.arange(800), some_hashes(800)
    generator: Cells | Hashes
    if kind == "cells":
        generator = Cells(fit_centroids(located, 10, seed=0), 3)
    else:
        cutting = np.random.default_rng(5).standard_normal((16, 4), np.float32)
        generator = Hashes(draw_tables(16, 4, 3, seed=2), 4, cutting)
    homes = generator.homes(located, numbers, salts)
    sizes = np.bincount(homes.reshape(-1), minlength=generator.cells)
    made, parted, occupancy = capped(
        generator, located, salts, homes, 60, Drawn(located[::2].copy(), salts[::2])
    )
    after = np.bincount(parted.reshape(-1), minlength=made.cells)
    assert after.max() == occupancy.largest <= 60 and after.sum() == homes.size
    assert occupancy.split == np.sum(sizes > 60) > 0
    np.testing.assert_array_equal(after, sizes_after(sizes, 60))
    # Whoever asks, in whatever company, comes to the same part.
    np.testing.assert_array_equal(made.homes(located, numbers, salts), parted)
    few = np.array([3, 510, 699, 40])
    np.testing.assert_array_equal(made.homes(located[few], few, salts[few]), parted[few])
    assert made.probes(located).max() < made.cells
    if kind == "lsh":
        pairs = sum(int(s) * (int(s) - 1) // 2 for s in sizes) - sum(
            int(s) * (int(s) - 1) // 2 for s in after
        )
        assert occupancy.cut_pairs == pairs
        # An item looks into its own part, unless others are equal to it, and none of its codes comes twice.
        probes = made.probes(located)
        assert all(np.isin(parted[row], probes[row]).all() for row in range(500) if row != 3)
        assert all(len(set(row)) == len(row) for row in probes.tolist())


def test_centroids_are_found_and_ranked() -> None:
    points = nested()
    centroids = fit_centroids(points, 20, seed=0)
    codes, _ = nearest_centroid(points, centroids)
    np.testing.assert_array_equal(codes, _far_from(points, centroids).argmin(axis=1))
    nearest = nearest_centroids(points, centroids, 3)
    np.testing.assert_array_equal(
        np.sort(nearest, axis=1), np.sort(np.argsort(_far_from(points, centroids), axis=1)[:, :3], axis=1)
    )


def _far_from(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return np.square(points[:, None, :].astype(float) - centroids[None].astype(float)).sum(axis=2)


def test_probes_are_the_buckets_across_the_closest_planes() -> None:
    points = np.random.default_rng(4).standard_normal((40, 10)).astype(np.float32)
    tables = draw_tables(10, 3, 6, seed=1)
    homes, probes = home_buckets(points, tables), probed_buckets(points, tables, 5).reshape(40, 3, 5)
    np.testing.assert_array_equal(probes[:, :, 0], homes)
    heights = (points @ tables.planes).reshape(40, 3, 6)
    for query in range(40):
        for table in range(3):
            costs = {}
            for bucket in range(64):
                flipped = [b for b in range(6) if (bucket ^ (homes[query, table] & 63)) >> b & 1]
                if len(flipped) <= 3:
                    costs[bucket] = float(sum(heights[query, table, b] ** 2 for b in flipped))
            best = sorted(costs, key=lambda bucket: costs[bucket])[:5]
            assert {int(code) & 63 for code in probes[query, table]} == set(best)
    assert most_probes(6) == 1 + 6 + 15 + 20
    fewer = draw_tables(10, 2, 6, seed=1)
    np.testing.assert_array_equal(home_buckets(points, fewer), homes[:, :2])


@pytest.mark.parametrize("method", ["flat", "cells", "lsh"])
def test_what_tuning_expects_is_what_the_search_finds(method: str) -> None:
    matrix, k = nested(), 10
    true = brute(matrix, k, "cosine")
    reduction = fit_reduction(matrix, 16, "cosine", seed=0)
    points = reduction.candidates(matrix)
    located = reduction.located(points)
    asked, others = np.arange(0, N, 3), np.arange(1, N, 3)
    products = points[asked] @ points.T
    products[np.arange(len(asked)), asked] = -np.inf
    bars = np.take_along_axis(products, true[asked], axis=1)
    rank = np.stack([(products > bars[:, j, None]).sum(axis=1) for j in range(k)], axis=1)
    salts = some_hashes(N)
    evidence = Evidence(
        *(located[asked], located[true[asked]], np.ones_like(rank, dtype=bool), salts[true[asked]], rank),
        *(Drawn(located, salts), N, D, 16, N),
    )
    choice = tuned(evidence, (method,), 0.9, k, Given(), seed=0)[0]
    search = searcher(matrix, choice.generator, "cosine", choice.rerank, dims=16)
    found = search.nearest(matrix[others], k, others).keys
    recall = np.mean([np.isin(true[row], names).mean() for row, names in zip(others, found, strict=True)])
    assert choice.method == method and recall >= 0.9
    assert abs(recall - choice.recall) < 0.03
    if method == "cells":
        assert isinstance(choice.generator, Cells) and choice.generator.probed < choice.generator.cells


def test_components_are_named_by_their_smallest_node() -> None:
    left, right = np.array([5, 1, 7, 2]), np.array([3, 5, 8, 2])
    assert components(9, left, right).tolist() == [0, 1, 2, 1, 4, 1, 6, 7, 7]
