"""Gini: how unequally the places in all lists are spread over the catalogue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def gini(exposures: NDArray[np.int64], n_items: int) -> float:
    """Gini coefficient of the exposures of all `n_items`: 0 (all alike) to 1 − 1/n (one item has every place).

    exposures: how many places of lists each candidate that is shown has; the others have none.
    With the exposures x in ascending order, G = Σ (2i − n − 1) xᵢ / (n Σ xᵢ). NaN without exposures.
    Fleder and Hosanagar 2009, "Blockbuster Culture's Next Rise or Fall".
    """
    shown = np.sort(exposures[exposures > 0]).astype(np.float64)
    if len(shown) == 0:
        return float("nan")
    # Items that were never shown come first and add nothing to the sum.
    place = np.arange(n_items - len(shown) + 1, n_items + 1)
    return float(((2 * place - n_items - 1) * shown).sum() / (n_items * shown.sum()))
