"""What the loss by iteration may cost."""

from __future__ import annotations

from vizrec_spark.als.loss import affordable
from vizrec_spark.config.models import AlsConfig


def test_the_sample_shrinks_with_rank_and_iterations_and_not_at_the_defaults() -> None:
    usual = AlsConfig()
    assert affordable(usual.rank, usual.iterations) > usual.loss_sample
    assert affordable(64, 12) > 40_000
    for rank in (64, 256, 1024):
        for iterations in (1, 12, 50):
            n = affordable(rank, iterations)
            assert (n >= 1 and n * iterations * (2 * rank**2 + 2 * rank**3 / 3) <= 1e11) or n == 1
