"""The generated catalogue: counts, repetition, and a circle that nothing visible gives away."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from vizrec_spark.demo import generate_catalogue
from vizrec_spark.demo.catalogue import END
from vizrec_spark.demo.vocabulary import COLOUR_NAMES, KIND_NAMES, PATTERNS
from vizrec_spark.errors import InputError


def cramers_v(first: pd.Series, second: pd.Series) -> float:
    """Strength of the association of two categories, 0 to 1."""
    table = pd.crosstab(first, second).to_numpy(dtype=float)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    chi2 = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi2 / table.sum() / (min(table.shape) - 1)))


def test_same_seed_same_catalogue_other_seed_another() -> None:
    first, again, other = (generate_catalogue(300, seed=seed).to_frame() for seed in (5, 5, 6))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_products_are_what_the_columns_say() -> None:
    catalogue = generate_catalogue(250, seed=1)
    frame = catalogue.to_frame()
    for position in (0, 100, 249):
        product, row = catalogue[position], frame.iloc[position]
        for name in ("item_id", "title", "kind", "colour", "pattern", "price", "image"):
            assert getattr(product, name) == row[name]
        assert pd.Timestamp(product.added_at, unit="s", tz="UTC") == pd.Timestamp(row["added_at"])
    assert [p.item_id for p in catalogue] == frame["item_id"].tolist()
    assert catalogue[0].item_id == "p00001"


def test_shares_and_classes() -> None:
    catalogue = generate_catalogue(2000, new_share=0.1, pictureless_share=0.05)
    assert catalogue.is_new.sum() == 200
    assert (~catalogue.has_picture).sum() == 100
    assert (catalogue.to_frame()["image"] == "").sum() == 100
    assert set(catalogue.to_frame()["kind"]) == set(KIND_NAMES)
    assert set(catalogue.to_frame()["colour"]) == set(COLOUR_NAMES)
    assert set(catalogue.to_frame()["pattern"]) == set(PATTERNS)
    assert catalogue.added_at.max() < END
    assert catalogue.added_at[catalogue.is_new].min() > catalogue.added_at[~catalogue.is_new].max()


def test_circle_is_hidden() -> None:
    catalogue = generate_catalogue(20_000)
    assert "circle" not in catalogue.to_frame().columns
    truth = catalogue.truth_frame()
    for trait in ("kind", "colour", "pattern"):
        assert cramers_v(truth["circle"], truth[trait]) < 0.05
    assert cramers_v(truth["family"], truth["colour"]) > 0.9  # the measure does see what there is


def test_titles_read_like_titles() -> None:
    for product in generate_catalogue(60):
        words = product.title.split()
        assert words[0] == product.colour.capitalize()
        assert words[-1] == product.kind
        assert len(words) == (2 if product.pattern == "plain" else 3)


def test_popularity_is_long_tailed_but_tame() -> None:
    popularity = np.sort(generate_catalogue(5000).popularity)[::-1]
    assert popularity.sum() == pytest.approx(1)
    assert 0.2 < popularity[:500].sum() < 0.5
    assert popularity[0] < 0.01


def test_a_hundred_thousand_products_take_seconds() -> None:
    began = time.process_time()
    assert len(generate_catalogue(100_000).to_frame()) == 100_000
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "wrong", [{"n_items": 0}, {"n_items": 5, "n_circles": 0}, {"n_items": 5, "new_share": 1.5}]
)
def test_impossible_sizes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must be"):
        generate_catalogue(**wrong)  # type: ignore[arg-type]
