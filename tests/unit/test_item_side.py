"""The item side built from Arrow tables, by hand."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from vizrec_spark.recommend.items import ItemSide, build_item_side

TEXT, VECTOR = pa.string(), pa.list_(pa.float32())


def side(
    titles: dict[str, str | None],
    people: dict[str, int] | None = None,
    factors: dict[str, list[float]] | None = None,
    near: list[tuple[str, str, float]] | None = None,
    mean_cosine: float = 0.0,
) -> ItemSide:
    people, factors, near = people or {}, factors or {}, near or []
    return build_item_side(
        pa.table({"item_id": pa.array(titles, TEXT), "title": pa.array(titles.values(), TEXT)}),
        pa.table({"item_id": pa.array(people, TEXT), "people": pa.array(people.values(), pa.int64())}),
        pa.table({"item_id": pa.array(factors, TEXT), "factors": pa.array(factors.values(), VECTOR)}),
        pa.table(
            {
                "item_id": pa.array([a for a, _, _ in near], TEXT),
                "neighbor_id": pa.array([b for _, b, _ in near], TEXT),
                "cosine": pa.array([c for _, _, c in near], pa.float32()),
            }
        ),
        mean_cosine,
    )


def looks(items: ItemSide, item: str) -> list[tuple[str, float]]:
    at = int(items.positions(np.array([item], dtype=object))[0])
    part = slice(items.start[at], items.start[at + 1])
    return [
        (str(items.ids[j]), float(s))
        for j, s in zip(items.neighbors[part], items.strength[part], strict=True)
    ]


def test_items_stand_in_order_of_id_with_their_own_columns() -> None:
    made = side({"b": "Bag", "a": None, "é": "É", "Z": ""}, {"b": 3, "é": 9}, {"b": [1, 2], "Z": [3, 4]})
    assert made.ids.tolist() == ["Z", "a", "b", "é"]
    assert made.titles.tolist() == ["", "a", "Bag", "É"]
    assert made.people.tolist() == [0, 0, 3, 9]
    assert made.has_factors.tolist() == [True, False, True, False]
    assert made.factors.tolist() == [[3, 4], [0, 0], [1, 2], [0, 0]]
    assert len(made) == 4


def test_positions_of_unknown_ids_are_minus_one() -> None:
    made = side({"b": None, "a": None})
    assert made.positions(np.array(["b", "x", "a", "b"], dtype=object)).tolist() == [1, -1, 0, 1]
    assert made.positions(np.array([], dtype=object)).tolist() == []


def test_strength_is_measured_from_the_cosine_of_a_random_pair() -> None:
    near = [("a", "b", 0.5), ("a", "c", 0.75), ("a", "d", 1.0), ("a", "e", 0.25), ("b", "a", 0.5)]
    made = side(dict.fromkeys("abcde"), near=near, mean_cosine=0.5)
    assert looks(made, "a") == [("d", 1.0), ("c", 0.5)]
    assert looks(made, "b") == []


def test_equally_strong_look_alikes_stand_in_order_of_id() -> None:
    made = side(dict.fromkeys("abcd"), near=[("b", "d", 0.5), ("b", "a", 0.5), ("b", "c", 0.5)])
    assert [item for item, _ in looks(made, "b")] == ["a", "c", "d"]


def test_strength_stays_finite_when_all_pictures_are_the_same() -> None:
    with np.errstate(all="raise"):
        made = side(dict.fromkeys("ab"), near=[("a", "b", 1.0), ("b", "a", 1.0)], mean_cosine=1.0)
    assert looks(made, "a") == looks(made, "b") == []


def test_rows_of_items_that_left_the_catalogue_are_ignored() -> None:
    made = side(
        {"a": "A", "b": "B"},
        people={"gone": 99, "b": 1},
        factors={"gone": [9.0], "a": [1.0]},
        near=[("gone", "a", 0.9), ("a", "gone", 0.9), ("a", "b", 0.4)],
    )
    assert made.people.tolist() == [0, 1]
    assert made.factors.tolist() == [[1.0], [0.0]]
    assert made.has_factors.tolist() == [True, False]
    assert looks(made, "a") == [("b", pytest.approx(0.4))]
    assert looks(made, "b") == []


def test_popularity_runs_from_zero_to_one() -> None:
    made = side(dict.fromkeys("abcd"), {"b": 9, "c": 99, "d": 9})
    assert made.popularity.tolist() == pytest.approx([0.0, 0.5, 1.0, 0.5])
    assert made.by_popularity.tolist() == [2, 1, 3, 0]


def test_popularity_of_a_shop_without_interactions_is_zero() -> None:
    made = side(dict.fromkeys("ab"))
    assert made.popularity.tolist() == [0.0, 0.0]
    assert made.by_popularity.tolist() == [0, 1]


def test_an_empty_catalogue_has_an_empty_side() -> None:
    made = side({})
    assert len(made) == 0
    assert made.start.tolist() == [0]
    assert made.popularity.tolist() == []


def test_factors_in_several_chunks_are_read_as_one() -> None:
    """Spark hands over one chunk a batch."""
    chunks = pa.chunked_array([pa.array([[1.0, 2.0]], VECTOR), pa.array([[3.0, 4.0], [5.0, 6.0]], VECTOR)])
    factors = pa.table({"item_id": pa.array(["c", "a", "b"], TEXT), "factors": chunks})
    items = pa.table({"item_id": pa.array(["a", "b", "c"], TEXT), "title": pa.array(["A", "B", "C"], TEXT)})
    people = pa.table({"item_id": pa.array([], TEXT), "people": pa.array([], pa.int64())})
    near = pa.table(
        {
            "item_id": pa.array([], TEXT),
            "neighbor_id": pa.array([], TEXT),
            "cosine": pa.array([], pa.float32()),
        }
    )
    made = build_item_side(items, people, factors, near, 0.0)
    assert made.factors.tolist() == [[3, 4], [5, 6], [1, 2]]


def test_it_survives_the_way_to_an_executor() -> None:
    made = pickle.loads(pickle.dumps(side({"b": "B", "a": None}, {"b": 3}, {"a": [1.0]}, [("a", "b", 0.5)])))
    assert made.titles.tolist() == ["a", "B"]
    assert looks(made, "a") == [("b", 0.5)]
    assert made.by_popularity.tolist() == [1, 0]
