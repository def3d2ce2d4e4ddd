"""What a search of either plan comes to, and its row in table `similarity_quality`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.similar.capping import Occupancy
from vizrec_spark.similar.centre import Centre
from vizrec_spark.similar.plan import Plan
from vizrec_spark.similar.quality import Recall
from vizrec_spark.tables.schemas import SIMILARITY_QUALITY


@dataclass(frozen=True)
class Found:
    """neighbors: `lists.NEIGHBORS_SCHEMA`; sizes: members of each cell; by_category, category_recall: where lists by
    category are asked for, `categories.BY_CATEGORY_SCHEMA` and its recall."""

    neighbors: DataFrame
    plan: Plan
    method: str
    setting: str
    recall: Recall
    candidates: float
    rerank: int
    occupancy: Occupancy
    sizes: NDArray[np.int64]
    centre: Centre
    searched: int
    by_category: DataFrame | None = None
    category_recall: Recall | None = None


_HOW = {"plan", "shared_dir", "shared_max_bytes", "block_rows", "incremental_below"}


def fingerprint(config: SimilarConfig) -> str:
    """The settings that decide what the lists are, as 64 hex digits; not those that say where and how they are made."""
    text = f"{SIMILARITY_QUALITY.version} {config.model_dump_json(exclude=_HOW)}"
    return hashlib.sha256(text.encode()).hexdigest()


def quality_row(encoder_id: str, found: Found, config: SimilarConfig) -> dict[str, object]:
    """The run's row of table `similarity_quality`."""
    n_items = found.centre.n_items
    bucketed = found.method in ("cells", "lsh")
    sizes = found.sizes[found.sizes > 0] if bucketed else np.array([n_items])
    return {
        "encoder_id": encoder_id,
        "method": found.method,
        "plan": found.plan,
        "setting": found.setting,
        "metric": config.metric,
        "fingerprint": fingerprint(config),
        "n_items": n_items,
        "n_searched": found.searched,
        "k": config.k,
        "target_recall": config.target_recall,
        "recall": found.recall.mean,
        "recall_lo": found.recall.lo,
        "recall_hi": found.recall.hi,
        "n_queries": found.recall.n_queries,
        "candidates_per_item": found.candidates,
        "n_reranked": found.rerank,
        "n_buckets": len(sizes),
        "bucket_histogram": np.bincount(np.log2(sizes).astype(int)).tolist(),
        "bucket_skew": float(np.square(sizes.astype(float)).sum() / sizes.sum() / sizes.mean()),
        "max_bucket_share": found.occupancy.largest / n_items if bucketed else 1.0,
        "n_split_buckets": found.occupancy.split,
        "n_cut_pairs": found.occupancy.cut_pairs,
        "mean_cosine": found.centre.random_pair_cosine,
    }


def notes(found: Found, config: SimilarConfig) -> list[str]:
    """The run in a sentence or two, for people."""
    n_items, recall = found.centre.n_items, found.recall
    told = [f"{n_items:,} items by {found.method} ({found.setting}), {found.plan} plan"]
    if found.method != "exact":
        told[0] += (
            f": recall@{config.k} {recall.mean:.3f} [{recall.lo:.3f}, {recall.hi:.3f}] on {recall.n_queries} items, "
            f"{found.candidates:,.0f} candidates an item"
        )
    if found.category_recall is not None and found.category_recall.n_queries:
        within = found.category_recall
        told.append(
            f"by category: recall@{config.per_category} {within.mean:.3f} [{within.lo:.3f}, {within.hi:.3f}] on "
            f"{within.n_queries} items"
        )
    if found.searched < n_items:
        told.append(f"{found.searched:,} items were asked for anew, the other lists kept or added to")
    return told
