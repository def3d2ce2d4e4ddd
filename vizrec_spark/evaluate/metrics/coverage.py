"""Catalogue coverage: how much of the catalogue is ever shown to anybody."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def coverage(exposures: NDArray[np.int64], n_items: int) -> float:
    """Share of the `n_items` that stand in at least one list, 0 to 1; 0 for an empty catalogue.

    exposures: how many places of lists each candidate that is shown has.
    Herlocker et al. 2004, "Evaluating Collaborative Filtering Recommender Systems", section 4.2.
    """
    return float((exposures > 0).sum() / n_items) if n_items else 0.0
