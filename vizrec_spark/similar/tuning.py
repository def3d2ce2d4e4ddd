"""Which generator, at which setting, reaches a recall at the least work: judged on a sample of queries.

What a setting would find is known without running it. A true neighbour is found if it lies in a probed cell and if
its rank by reduced points is within those re-ranked, so both are looked up once for each (query, true neighbour)
pair, and every setting is then a count. Work is counted in nanoseconds of one core from the constants below; fixed
ones, and not ones that are measured on the spot, so that equal input gives equal tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.kernels.hyperplanes import MAX_BITS, draw_tables, most_probes
from vizrec_spark.kernels.kmeans import fit_centroids
from vizrec_spark.similar.capping import capped
from vizrec_spark.similar.generators import Cells, Flat, Floats, Generator, Hashes
from vizrec_spark.similar.splits import Drawn
from vizrec_spark.stage import log

PRODUCT_NS = 0.04
"""One multiply-add in a matrix product."""
SCAN_NS = 2.0
"""Reading one score in the scan, and what little of them is kept."""
GATHER_NS = 0.1
"""One multiply-add of a pair that is scored alone: bound by memory."""
KEEP_NS = 40.0
"""Keeping and sorting one candidate of those that are re-ranked."""

HASHED = 32
"""Leading directions that hyperplanes cut through."""

# How far above the target a setting must come on the tuning queries: (1 − target) · MARGIN more, because other
# queries are judged, and the best of many settings looks a little better than it is.
MARGIN = 0.3

RERANKED = (1.2, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Candidates to re-rank, as multiples of k."""


@dataclass(frozen=True)
class Evidence:
    """What is known of the tuning queries, q of them with k true neighbours each.

    queries: q × m located points; neighbors: q × k × m located points of the true neighbours; there: q × k bool,
    false for padding; salts: q × k int64, the hashes of the neighbours' ids; reduced_rank: q × k int64, how many items
    come before it by reduced points; drawn: items drawn at random; n_items, dimension, width: of the whole problem;
    cap: the most members that a bucket may keep.
    """

    queries: Floats
    neighbors: Floats
    there: NDArray[np.bool_]
    salts: NDArray[np.int64]
    reduced_rank: NDArray[np.int64]
    drawn: Drawn
    n_items: int
    dimension: int
    width: int
    cap: int


@dataclass(frozen=True)
class Choice:
    """A generator with its setting. recall: expected, 0 to 1; work: ns of one core for an item."""

    method: str
    generator: Generator
    rerank: int
    recall: float
    work: float
    told: str
    candidates: float


@dataclass(frozen=True)
class Given:
    """Settings that the configuration fixes; None leaves them to tuning."""

    cells: int | None = None
    tables: int | None = None
    bits: int | None = None
    probes: int | None = None
    rerank: int | None = None


def exact_work(n_items: int, dimension: int) -> float:
    """ns of one core for an item's comparison with all others at full dimension."""
    return n_items * (dimension * PRODUCT_NS + SCAN_NS)


SAMPLE = 8_192
"""Vectors that the reduction is learnt from: 40 MB at 1,280 dimensions."""

_SMALLEST_CAP = 64

SHARD_BYTES = 2**30
"""What the items of a shard of the partitioned plan may take in a task's memory."""


def shard_items(dimension: int, width: int) -> int:
    """How many items a shard may hold: of each the vector, as it came and as a matrix, and the reduced point."""
    return max(_SMALLEST_CAP, SHARD_BYTES // (4 * (2 * dimension + width)))


def cell_cap(n_items: int, share: float, dimension: int, width: int) -> int:
    """The cap on a cell: this share of all items, at most what a shard may hold, and never below 64."""
    return max(_SMALLEST_CAP, min(int(share * n_items), shard_items(dimension, width)))


def cell_sample(n_items: int, cells: int | None) -> int:
    """Vectors to learn cells from: 48 a cell."""
    return min(n_items, 48 * (cells or cell_count(n_items)))


def tuned_by(evidence: Evidence, methods: tuple[str, ...], config: SimilarConfig) -> list[Choice]:
    """`tuned` with what the configuration says, told in the log."""
    given = Given(config.cells, config.tables, config.bits, config.probes, config.rerank)
    choices = tuned(evidence, methods, config.target_recall, config.k, given, config.seed)
    for choice in choices:
        log.info(
            "similar: %s would find %.3f for %.0f µs an item (%s)",
            *(choice.method, choice.recall, choice.work / 1000, choice.told),
        )
    return choices


def tuned(
    evidence: Evidence, methods: tuple[str, ...], target: float, k: int, given: Given, seed: int
) -> list[Choice]:
    """The cheapest setting of each of `methods` (flat, cells, lsh) that reaches the target, cheapest first.

    A method that cannot reach it comes last, with the setting that comes nearest.
    """
    aim = target + (1 - target) * MARGIN
    makers = {"flat": _flat, "cells": _cells, "lsh": _hashes}
    best = []
    for method in methods:
        options = list(makers[method](evidence, k, given, seed))
        reaching = [option for option in options if option.recall >= aim]
        best.append(
            min(reaching, key=lambda o: o.work)
            if reaching
            else max(options, key=lambda o: (o.recall, -o.work))
        )
    return sorted(best, key=lambda o: (o.recall < aim, o.work))


def _reranks(evidence: Evidence, k: int, given: Given) -> list[int]:
    if given.rerank is not None:
        return [max(k, min(given.rerank, evidence.n_items))]
    return sorted({min(int(np.ceil(k * times)), max(evidence.n_items, k)) for times in RERANKED})


def _pair_work(evidence: Evidence, candidates: float, rerank: int) -> float:
    return candidates * (evidence.width * PRODUCT_NS + SCAN_NS) + rerank * (
        evidence.dimension * GATHER_NS + KEEP_NS
    )


def _share(found: NDArray[np.bool_], evidence: Evidence) -> float:
    per_query = (found & evidence.there).sum(axis=1) / np.maximum(evidence.there.sum(axis=1), 1)
    asked = evidence.there.any(axis=1)
    return float(per_query[asked].mean()) if asked.any() else 1.0


def _flat(evidence: Evidence, k: int, given: Given, seed: int) -> Iterator[Choice]:
    for rerank in _reranks(evidence, k, given):
        recall = _share(evidence.reduced_rank < rerank, evidence)
        work = _pair_work(evidence, evidence.n_items, rerank)
        yield Choice(
            "flat", Flat(evidence.n_items), rerank, recall, work, f"{rerank} re-ranked", evidence.n_items
        )


def cell_count(n_items: int) -> int:
    """2·√n cells: finding the nearest centroids and looking through their members then cost about the same."""
    return max(1, round(2 * n_items**0.5))


def _cells(evidence: Evidence, k: int, given: Given, seed: int) -> Iterator[Choice]:
    wanted = given.cells or cell_count(evidence.n_items)
    sample = evidence.drawn.located
    centroids = fit_centroids(sample[: 48 * wanted], wanted, seed=seed)
    split, sizes = _capped_on_sample(Cells(centroids, 1), evidence)
    assert isinstance(split, Cells)
    reach = split.seen
    affinity = evidence.queries @ reach.T - np.square(reach).sum(axis=1) / 2
    visited = np.argsort(-affinity, axis=1, kind="stable")
    place = np.empty_like(visited)
    np.put_along_axis(place, visited, np.arange(len(reach))[None], axis=1)
    q, found, m = evidence.neighbors.shape
    home = _homes_of_neighbors(split, evidence).reshape(q, found)
    places = np.take_along_axis(place, home.astype(np.int64), axis=1)
    seen = np.cumsum(sizes[visited], axis=1).mean(axis=0)
    finding = len(reach) * (m * PRODUCT_NS + 8 * SCAN_NS)
    steps = np.unique(np.ceil(np.geomspace(1, len(reach), 64)).astype(int))
    for probed in [min(given.probes, len(reach))] if given.probes else steps:
        reached, met = places < probed, float(seen[probed - 1])
        for rerank in _reranks(evidence, k, given):
            recall = _share(reached & (evidence.reduced_rank < rerank), evidence)
            work = finding + _pair_work(evidence, met, rerank)
            told = f"{probed} of {len(reach):,} cells probed, {rerank} re-ranked"
            yield Choice("cells", Cells(centroids, int(probed)), rerank, recall, work, told, met)


def _capped_on_sample(generator: Generator, evidence: Evidence) -> tuple[Generator, NDArray[np.floating]]:
    """The generator as the cap will leave it on all items, and how many of them each cell will hold.

    Split on the sample in proportion, so that what splitting costs in recall is seen.
    """
    drawn = evidence.drawn
    scale = evidence.n_items / max(len(drawn.located), 1)
    homes = generator.homes(drawn.located, np.arange(len(drawn.located)), drawn.salts)
    cap = max(2, int(evidence.cap / scale))
    generator, homes, _ = capped(generator, drawn.located, drawn.salts, homes, cap, drawn)
    return generator, np.bincount(homes.reshape(-1), minlength=generator.cells) * scale


def _homes_of_neighbors(generator: Generator, evidence: Evidence) -> NDArray[np.int32]:
    located = evidence.neighbors.reshape(-1, evidence.neighbors.shape[2])
    return generator.homes(located, np.arange(len(located)), evidence.salts.reshape(-1))


def _hashes(evidence: Evidence, k: int, given: Given, seed: int) -> Iterator[Choice]:
    used = min(HASHED, evidence.queries.shape[1])
    q, found, _ = evidence.neighbors.shape
    typical = min(MAX_BITS, max(2, round(np.log2(max(evidence.n_items, 4) / 40))))
    for bits in [given.bits] if given.bits else sorted({typical, max(1, typical - 2)}):
        most = given.tables or 14
        tables = draw_tables(used, most, bits, seed=seed)
        cutting = np.random.default_rng([seed, used, most]).standard_normal((used, most), dtype=np.float32)
        probes_most = min(given.probes or 32, most_probes(bits))
        split, sizes = _capped_on_sample(Hashes(tables, probes_most, cutting), evidence)
        probes = split.probes(evidence.queries)
        homes = _homes_of_neighbors(split, evidence).reshape(q, found, most)
        by_table = probes.reshape(q, most, probes_most)
        place = np.full(homes.shape, probes_most, dtype=np.int64)
        for probe in range(probes_most - 1, -1, -1):
            place[by_table[:, None, :, probe] == homes] = probe
        seen = np.cumsum(sizes[by_table], axis=2).mean(axis=0)
        for count in [most] if given.tables else range(1, most + 1):
            first = place[:, :, :count].min(axis=2)
            for probed in [probes_most] if given.probes else (1, 2, 4, 8, 12, 16, 24, 32):
                if probed > probes_most:
                    continue
                reached = first < probed
                met = float(seen[:count, probed - 1].sum())
                for rerank in _reranks(evidence, k, given):
                    recall = _share(reached & (evidence.reduced_rank < rerank), evidence)
                    few = replace(tables, planes=tables.planes[:, : count * bits], tables=count)
                    yield Choice(
                        "lsh",
                        Hashes(few, probed, cutting[:, :count]),
                        rerank,
                        recall,
                        _pair_work(evidence, met, rerank) + count * probed * 30 * SCAN_NS,
                        f"{count} tables of {bits} bits, {probed} probes each, {rerank} re-ranked",
                        met,
                    )
