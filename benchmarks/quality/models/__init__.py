"""The models by name, in the order of the table; each is one function of a window."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.quality.models.baselines import ease, item_knn, popularity, random_order
from benchmarks.quality.models.content import ridge_attributes, ridge_picture, visual, visual_raw
from benchmarks.quality.models.factors import als
from benchmarks.quality.models.hybrid import hybrid, without, without_new
from benchmarks.quality.window import Model

WARM: Mapping[str, Model] = {
    "popularity": popularity,
    "item_knn": item_knn,
    "ease": ease,
    "als": als,
    "visual": visual,
    "hybrid_without_als": without("cf"),
    "hybrid_without_cooccurrence": without("cooccurrence"),
    "hybrid_without_visual": without("visual"),
    "hybrid_without_attributes": without("attributes"),
    "hybrid_without_popularity": without("popularity"),
    "hybrid": hybrid,
}
COLD: Mapping[str, Model] = {
    "random": random_order,
    "popularity": popularity,
    "item_knn": item_knn,
    "als": als,
    "visual_raw": visual_raw,
    "visual": visual,
    "ridge_picture": ridge_picture,
    "ridge_attributes": ridge_attributes,
    "hybrid_without_als": without("cf"),
    "hybrid_without_cooccurrence": without("cooccurrence"),
    "hybrid_without_popularity": without("popularity"),
    "hybrid_without_visual": without("visual"),
    "hybrid_without_attributes": without("attributes"),
    "hybrid": hybrid,
}
MIXED: Mapping[str, Model] = {"als": als, "hybrid_without_new": without_new, "hybrid": hybrid}
