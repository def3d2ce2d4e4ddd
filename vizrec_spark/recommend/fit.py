"""Fits the weights of the blend: pairwise logistic regression on chosen against other candidates of the same user."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseMatrix
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from vizrec_spark.config.models import LearnConfig
from vizrec_spark.recommend.describe import Candidates
from vizrec_spark.recommend.sources import FEATURES, LEAST, NAMES


class Pairs(NamedTuple):
    """p pairs: `difference` (p, f) of the features of a chosen and of another candidate, `user` (p,), `weight` (p,):
    each user's sum to 1."""

    difference: NDArray[np.float64]
    user: NDArray[np.int64]
    weight: NDArray[np.float64]


class Fitted(NamedTuple):
    """`weights` (f,) on features divided by their scale, a 95 % interval [`lo`, `hi`], and the number of `pairs`."""

    weights: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    pairs: int


def sample_pairs(
    candidates: Candidates,
    chosen: NDArray[np.bool_],
    scale: NDArray[np.float64],
    users: NDArray[np.bool_],
    negatives: int,
    seed: int,
) -> Pairs:
    """Each chosen candidate of `users` (mask) against `negatives` others of the same user, drawn with replacement."""
    user = candidates.user
    positive = np.flatnonzero(chosen & users[user])
    others = np.flatnonzero(~chosen)
    bounds = np.searchsorted(user[others], np.arange(len(users) + 1))
    room = np.diff(bounds)[user[positive]]
    positive, room = positive[room > 0], room[room > 0]
    rng = np.random.default_rng(seed)
    drawn = (rng.random((len(positive), negatives)) * room[:, None]).astype(np.int64)
    other = others[bounds[user[positive]][:, None] + drawn]
    difference = (candidates.features[positive][:, None, :] - candidates.features[other]) / scale
    who = np.repeat(user[positive], negatives)
    share = 1.0 / np.bincount(who, minlength=len(users))[who] if len(who) else np.zeros(0)
    return Pairs(difference.reshape(-1, len(scale)).astype(np.float64), who, share)


def fit_weights(
    spark: SparkSession,
    candidates: Candidates,
    chosen: NDArray[np.bool_],
    scale: NDArray[np.float64],
    users: NDArray[np.bool_],
    config: LearnConfig,
    used: NDArray[np.bool_],
) -> Fitted:
    """MLlib's logistic regression of "the chosen one comes first" on differences of standardised features.

    Pairs of one user cancel what only the user decides, and users count alike. The penalty is ½ |w|² against a log
    likelihood summed over users: a standard normal prior on the weights. With `config.non_negative` weights are kept
    at 0 or above but for `sources.LEAST`; features that are not `used` get none. The interval is Wald's from a
    covariance that counts users, not pairs, as the independent units (sandwich: Huber 1967; clusters: Liang and Zeger
    1986), over the weights that no bound holds; those at 0 have the interval [0, 0]. Rows that reach the driver:
    `config.users` times its likes in the window times `config.negatives`.
    """
    pairs = sample_pairs(candidates, chosen, scale, users, config.negatives, config.seed)
    # A feature that is 0 throughout gets the weight 0.
    pairs = pairs._replace(difference=np.where(used, pairs.difference, 0.0))
    n_users = len(np.unique(pairs.user))
    if n_users == 0:
        nothing = np.zeros(len(FEATURES))
        return Fitted(nothing, nothing, nothing, 0)
    # Half of the pairs are turned round, for a classifier needs both classes.
    label = np.arange(len(pairs.user)) % 2
    turned = np.where(label[:, None] == 1, pairs.difference, -pairs.difference)
    offsets = pa.array(np.arange(len(turned) + 1, dtype=np.int32) * turned.shape[1])
    table = pa.table(
        {
            "label": label.astype(np.float64),
            "weight": pairs.weight,
            "values": pa.ListArray.from_arrays(offsets, pa.array(turned.ravel())),
        }
    )
    rows = spark.createDataFrame(table).withColumn("features", array_to_vector(F.col("values")))
    classifier = LogisticRegression(
        weightCol="weight", fitIntercept=False, standardization=False, regParam=1.0 / n_users, maxIter=100
    )
    if config.non_negative:
        bounds = [LEAST.get(name, 0.0) if use else 0.0 for name, use in zip(NAMES, used, strict=True)]
        classifier.setLowerBoundsOnCoefficients(DenseMatrix(1, len(NAMES), bounds))
    weights = np.array(classifier.fit(rows.coalesce(1)).coefficients.toArray())
    weights[np.abs(weights) < 1e-9] = 0.0
    half = 1.96 * clustered_errors(pairs, weights)
    free = weights != 0
    return Fitted(
        weights, np.where(free, weights - half, 0.0), np.where(free, weights + half, 0.0), len(pairs.user)
    )


def clustered_errors(pairs: Pairs, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors of the weights that are not 0 (0 for the others), with users as clusters."""
    free = np.flatnonzero(weights)
    x = pairs.difference[:, free]
    p = 1.0 / (1.0 + np.exp(-x @ weights[free]))
    hessian = (x * (pairs.weight * p * (1 - p))[:, None]).T @ x + np.eye(len(free))
    slope = x * (pairs.weight * (1 - p))[:, None]
    of_user = np.zeros((int(pairs.user.max(initial=-1)) + 1, len(free)))
    np.add.at(of_user, pairs.user, slope)
    inverse = np.linalg.inv(hessian)
    errors = np.zeros(len(weights))
    errors[free] = np.sqrt(np.maximum(np.diag(inverse @ (of_user.T @ of_user) @ inverse), 0.0))
    return errors
