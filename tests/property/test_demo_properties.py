"""What holds for a generated shop of any size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from vizrec_spark.demo import (
    Truth,
    VectorSpace,
    generate_catalogue,
    generate_events,
    generate_shoppers,
    taste_match,
)
from vizrec_spark.demo.drawing.canvas import Pose
from vizrec_spark.demo.drawing.paths import mirrored, path, reflected

sizes = st.integers(1, 60)
seeds = st.integers(0, 2**31)


@settings(max_examples=30)
@given(n_items=sizes, n_users=sizes, n_events=st.integers(1, 400), seed=seeds)
def test_events_are_as_many_as_asked_distinct_and_on_warm_products(
    n_items: int, n_users: int, n_events: int, seed: int
) -> None:
    catalogue = generate_catalogue(n_items, seed=seed)
    shoppers = generate_shoppers(n_users, catalogue, seed=seed)
    events = generate_events(n_events, shoppers, catalogue, seed=seed)
    assert len(events) == n_events
    assert not events.duplicated().any()
    assert events["user_id"].isin(shoppers.user_id[shoppers.zeal > 0]).all()
    assert events["item_id"].isin(catalogue.item_id[~catalogue.is_new]).all()


@settings(max_examples=20)
@given(n_items=sizes, n_users=sizes, seed=seeds)
def test_the_table_of_truth_agrees_with_each_pair(n_items: int, n_users: int, seed: int) -> None:
    catalogue = generate_catalogue(n_items, seed=seed)
    shoppers = generate_shoppers(n_users, catalogue, seed=seed)
    pairs = [(u, i) for u in range(min(n_users, 8)) for i in range(min(n_items, 12))]
    frame = pd.DataFrame(
        {
            "user_id": [shoppers[u].user_id for u, _ in pairs],
            "item_id": [catalogue[i].item_id for _, i in pairs],
        }
    )
    matched = Truth.of(catalogue, shoppers).match(frame)
    for (u, i), look, circle in zip(pairs, matched["look"], matched["circle_match"], strict=True):
        expected = taste_match(shoppers[u], catalogue[i])
        assert np.isclose(look, expected.look)
        assert circle == expected.circle


@settings(max_examples=15)
@given(n=st.integers(1, 2300), rows=st.integers(200, 2500), seed=seeds)
def test_vectors_do_not_depend_on_the_blocks(n: int, rows: int, seed: int) -> None:
    space = VectorSpace(dim=16, seed=seed, kinds=4, colours=3, patterns=2)
    blocks = list(space.blocks(n, rows=rows))
    assert [block.start for block in blocks] == list(range(0, n, rows))
    np.testing.assert_array_equal(np.concatenate([block.vectors for block in blocks]), space.draw(n))


@given(turn=st.floats(-30, 30), zoom=st.floats(0.5, 1.5), flip=st.booleans())
def test_a_pose_keeps_areas_up_to_its_zoom(turn: float, zoom: float, flip: bool) -> None:
    determinant = np.linalg.det(Pose(turn=turn, zoom=zoom, stretch=1.02, flip=flip).matrix())
    assert np.isclose(determinant, zoom**2 * (-1 if flip else 1))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=8))
def test_mirrored_outlines_are_symmetrical(corners: list[tuple[float, float]]) -> None:
    half = path("M " + " L ".join(f"{x} {y}" for x, y in corners))
    np.testing.assert_allclose(half, corners)
    whole = mirrored(half)
    np.testing.assert_allclose(whole, reflected(whole)[::-1], atol=1e-9)
