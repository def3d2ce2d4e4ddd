"""A row of table `similarity_quality` for tests of what reads it."""

from __future__ import annotations

from typing import Any


def quality(**changes: Any) -> dict[str, Any]:
    """An exact search of nine items, with `changes`."""
    return {
        "encoder_id": "enc",
        "method": "exact",
        "plan": "shared",
        "setting": "all pairs",
        "metric": "cosine",
        "fingerprint": "f" * 64,
        "n_items": 9,
        "n_searched": 9,
        "k": 9,
        "target_recall": 0.95,
        "recall": 1.0,
        "recall_lo": 1.0,
        "recall_hi": 1.0,
        "n_queries": 0,
        "candidates_per_item": 9.0,
        "n_reranked": 9,
        "n_buckets": 1,
        "bucket_histogram": [0, 0, 0, 1],
        "bucket_skew": 1.0,
        "max_bucket_share": 1.0,
        "n_split_buckets": 0,
        "n_cut_pairs": 0,
        "mean_cosine": 0.1,
        **changes,
    }
