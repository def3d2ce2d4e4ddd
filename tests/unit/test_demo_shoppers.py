"""Shoppers with known taste, and whether their events show it."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from vizrec_spark.demo import (
    Behaviour,
    Catalogue,
    Look,
    Shoppers,
    Truth,
    generate_catalogue,
    generate_events,
    generate_shoppers,
    taste_match,
)
from vizrec_spark.demo.catalogue import END
from vizrec_spark.demo.taste import N_LOOKS, look_codes
from vizrec_spark.errors import InputError


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return generate_catalogue(800, seed=3)


@pytest.fixture(scope="module")
def shoppers(catalogue: Catalogue) -> Shoppers:
    return generate_shoppers(500, catalogue, seed=3)


@pytest.fixture(scope="module")
def events(catalogue: Catalogue, shoppers: Shoppers) -> pd.DataFrame:
    return generate_events(16_000, shoppers, catalogue, seed=3)


def test_a_look_fits_the_products_that_carry_its_number(catalogue: Catalogue) -> None:
    codes = look_codes(catalogue)
    for code in range(0, N_LOOKS, 7):
        look = Look.of_code(code)
        assert Look.parse(str(look)) == look
        carrying = (codes == code).any(axis=1)
        assert [look.fits(product) for product in catalogue] == carrying.tolist()


def test_shoppers_have_one_to_three_distinct_looks(shoppers: Shoppers) -> None:
    counts = [len({look for look, _ in shopper.looks}) for shopper in shoppers]
    assert counts == [len(shopper.looks) for shopper in shoppers]
    assert set(counts) == {1, 2, 3}
    for shopper in shoppers:
        assert sum(weight for _, weight in shopper.looks) == pytest.approx(1)


def test_the_table_tells_the_same_truth_as_the_pair(catalogue: Catalogue, shoppers: Shoppers) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(len(shoppers), size=3000), rng.integers(len(catalogue), size=3000)
    pairs = pd.DataFrame({"user_id": shoppers.user_id[users], "item_id": catalogue.item_id[items]})
    matched = Truth.of(catalogue, shoppers).match(pairs)
    expected = [taste_match(shoppers[int(u)], catalogue[int(i)]) for u, i in zip(users, items, strict=True)]
    np.testing.assert_allclose(matched["look"], [match.look for match in expected])
    assert matched["circle_match"].tolist() == [match.circle for match in expected]
    assert matched["look_match"].any()
    assert not matched["look_match"].all()


def test_an_unknown_id_is_refused(catalogue: Catalogue, shoppers: Shoppers) -> None:
    pairs = pd.DataFrame({"user_id": ["u00001"], "item_id": ["nothing"]})
    with pytest.raises(InputError, match="'nothing'"):
        Truth.of(catalogue, shoppers).match(pairs)


def test_events_keep_their_promises(catalogue: Catalogue, shoppers: Shoppers, events: pd.DataFrame) -> None:
    assert len(events) == 16_000
    assert not events.duplicated().any()
    assert events["timestamp"].is_monotonic_increasing
    assert set(events["event"]) == {"view", "cart", "buy"}
    items = pd.Series(np.arange(len(catalogue)), index=catalogue.item_id)[events["item_id"]].to_numpy()
    users = pd.Series(np.arange(len(shoppers)), index=shoppers.user_id)[events["user_id"]].to_numpy()
    assert not catalogue.is_new[items].any()
    assert (events["timestamp"] >= catalogue.added_at[items]).all()
    assert (events["timestamp"] >= shoppers.joined_at[users]).all()
    assert (events["timestamp"] < END).all()
    counts = np.bincount(users, minlength=len(shoppers))
    assert ((counts == 0) == (shoppers.zeal == 0)).all()
    assert (shoppers.zeal == 0).sum() == 20
    assert (counts[shoppers.casual] <= 2).all()
    assert np.percentile(counts[counts > 2], 99) > 4 * np.median(counts[counts > 2])


def test_the_same_seed_acts_the_same(catalogue: Catalogue, shoppers: Shoppers, events: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(events, generate_events(16_000, shoppers, catalogue, seed=3))
    assert not events.equals(generate_events(16_000, shoppers, catalogue, seed=4))


def test_taste_is_really_in_the_events(
    catalogue: Catalogue, shoppers: Shoppers, events: pd.DataFrame
) -> None:
    truth = Truth.of(catalogue, shoppers)
    look, circle = truth.shares(events.drop_duplicates(["user_id", "item_id"]))
    chance_look, chance_circle = truth.chance()
    assert look > 6 * chance_look
    assert circle > 2 * chance_circle
    best_sellers = events["item_id"].value_counts().index[:40]
    users = events["user_id"].unique()
    popular = pd.MultiIndex.from_product([users, best_sellers], names=["user_id", "item_id"]).to_frame(
        index=False
    )
    popular_look, popular_circle = truth.shares(popular)
    assert popular_look < 2 * chance_look
    assert popular_circle < 1.2 * chance_circle


def test_each_part_of_taste_can_be_switched_off(catalogue: Catalogue, shoppers: Shoppers) -> None:
    truth = Truth.of(catalogue, shoppers)
    chance_look, chance_circle = truth.chance()
    blind = Behaviour(look_share=0.0, noise_share=0.1)
    look, circle = truth.shares(generate_events(16_000, shoppers, catalogue, behaviour=blind))
    assert look < 1.4 * chance_look
    assert circle > 2 * chance_circle
    lonely = Behaviour(circle_in_look=1.0, circle_alone=1.0)
    look, circle = truth.shares(generate_events(16_000, shoppers, catalogue, behaviour=lonely))
    assert look > 6 * chance_look
    assert circle == pytest.approx(chance_circle, rel=0.15)


def test_many_events_take_seconds() -> None:
    catalogue = generate_catalogue(5000)
    shoppers = generate_shoppers(4000, catalogue)
    began = time.process_time()
    assert len(generate_events(200_000, shoppers, catalogue)) == 200_000
    assert time.process_time() - began < 12


def test_impossible_requests_are_refused(catalogue: Catalogue, shoppers: Shoppers) -> None:
    with pytest.raises(InputError, match="n_users"):
        generate_shoppers(0, catalogue)
    with pytest.raises(InputError, match="idle_share"):
        generate_shoppers(5, catalogue, idle_share=0.6, casual_share=0.6)
    with pytest.raises(InputError, match="n_events"):
        generate_events(0, shoppers, catalogue)
    with pytest.raises(InputError, match="product"):
        generate_events(10, shoppers, generate_catalogue(20, new_share=1.0))
    with pytest.raises(InputError, match="look_share"):
        Behaviour(look_share=0.9, noise_share=0.2)
