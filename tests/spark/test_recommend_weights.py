"""The weights of the blend: what was planted is found again, and bounds hold."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession

from vizrec_spark.config.models import LearnConfig
from vizrec_spark.recommend.describe import Candidates
from vizrec_spark.recommend.fit import fit_weights
from vizrec_spark.recommend.sources import FEATURES, at

PLANTED = {"als": 1.0, "looks_recent": 0.5, "popularity": -0.7}
N_USERS, EACH = 400, 30


@pytest.mark.parametrize("non_negative", [True, False])
def test_planted_weights_are_found(spark: SparkSession, non_negative: bool) -> None:
    """Users choose the three of thirty candidates that they score best, with Gumbel noise as the model assumes."""
    rng = np.random.default_rng(8)
    features = rng.normal(size=(N_USERS * EACH, len(FEATURES)))
    truth = np.zeros(len(FEATURES))
    for name, weight in PLANTED.items():
        truth[at(name)] = weight
    score = (features @ truth + rng.gumbel(size=len(features))).reshape(N_USERS, EACH)
    chosen = np.zeros((N_USERS, EACH), dtype=bool)
    np.put_along_axis(chosen, np.argsort(-score, axis=1)[:, :3], True, axis=1)
    indptr = np.arange(N_USERS + 1) * EACH
    item = np.tile(np.arange(EACH), N_USERS).astype(np.int32)
    candidates = Candidates(indptr, item, np.ones(len(item), dtype=np.uint8), features.astype(np.float32))
    used = np.ones(len(FEATURES), dtype=bool)
    used[at("trend")] = False
    scale, everyone = np.ones(len(FEATURES)), np.ones(N_USERS, dtype=bool)
    config = LearnConfig(non_negative=non_negative)
    found = fit_weights(spark, candidates, chosen.ravel(), scale, everyone, config, used)
    assert found.pairs == 3 * N_USERS * config.negatives
    assert found.weights[at("trend")] == 0.0
    kept = {name: weight for name, weight in PLANTED.items() if weight > 0 or not non_negative}
    for name, weight in kept.items():
        where = at(name)
        assert found.weights[where] == pytest.approx(weight, abs=0.2)
        assert found.lo[where] < found.weights[where] < found.hi[where]
        assert found.lo[where] * found.hi[where] > 0  # told from 0
    idle = [i for i, feature in enumerate(FEATURES) if feature.name not in PLANTED]
    assert np.abs(found.weights[idle]).max() < 0.15
    if non_negative:
        bounded = [i for i, feature in enumerate(FEATURES) if feature.name != "new"]
        assert (found.weights[bounded] >= 0).all() and found.weights[at("new_als")] >= 0.05
        assert found.weights[at("popularity")] == found.lo[at("popularity")] == 0.0
