"""The product of factors with themselves, a piece at a time."""

from __future__ import annotations

import numpy as np
import pytest

from vizrec_spark.kernels import fold_in


def test_pieces_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = np.random.default_rng(0).integers(-9, 10, (23, 4)).astype(np.float32)
    monkeypatch.setattr(fold_in, "_GRAM_ROWS", 5)
    np.testing.assert_array_equal(fold_in.gram(factors), factors.T.astype(float) @ factors.astype(float))
