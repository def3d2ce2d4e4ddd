"""What is to be learned, and what is said where it cannot be; how pictures are parted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vizrec_spark.adapt.labels import given_parts
from vizrec_spark.adapt.near_groups import near_groups
from vizrec_spark.adapt.split import keys_of, stratified, without_copies
from vizrec_spark.adapt.task import Task, require_parts, require_same_labels, task_of
from vizrec_spark.config.models import LabelsConfig
from vizrec_spark.errors import LabelError

AUTO = LabelsConfig()


def lists(labels: list[list[str]]) -> pa.ListArray:
    return pa.array(labels, pa.list_(pa.string()))


def test_the_kind_is_found_in_the_labels() -> None:
    assert task_of(lists([["a"], ["b"]] * 2), False, AUTO) == Task("binary", ("a", "b"))
    assert task_of(lists([["a"], ["b"], ["c"]] * 2), False, AUTO) == Task("multi_class", ("a", "b", "c"))
    several = task_of(lists([["a", "b"], ["b"]] * 2), True, AUTO)
    assert several == Task("multi_label", ("a", "b"))
    assert several.matrix(lists([["b"], ["a", "b"]])).tolist() == [[False, True], [True, True]]
    asked = LabelsConfig(kind="multi_class")
    assert task_of(lists([["a"], ["b"]] * 2), True, asked).kind == "multi_class"


@pytest.mark.parametrize(
    ("labels", "several", "config", "message"),
    [
        ([["a"]] * 3, False, AUTO, r"nothing to learn: 3 labelled pictures with 1 label\(s\) 'a'"),
        ([["a"], ["a"], ["b"]], False, AUTO, r"too few examples of 'b': 1 picture\(s\), at least 2"),
        (
            [["a"], ["b"], ["c"]] * 2,
            False,
            LabelsConfig(kind="binary"),
            r"binary needs two labels, there are 3",
        ),
        ([["a", "b"], ["a"], ["b"]], False, AUTO, r"1 pictures have more than one label"),
        ([["a", "b"]] * 2, True, LabelsConfig(kind="multi_class"), r"kind multi_class allows one"),
    ],
)
def test_labels_that_nothing_can_be_learned_from(
    labels: list[list[str]], several: bool, config: LabelsConfig, message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        task_of(lists(labels), several, config)


def test_a_label_missing_from_a_part() -> None:
    task = Task("binary", ("a", "b"))
    truth = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 0], [1, 0]], bool)
    part = np.array(["train", "train", "validation", "validation", "test", "test"])
    with pytest.raises(
        LabelError, match=r"test has no picture of 'b', which so cannot be judged. Give each label"
    ):
        require_parts(truth, part, task, named=True)
    with pytest.raises(LabelError, match=r"cannot be judged. Nearly equal pictures stay in one part"):
        require_parts(truth, part, task, named=False)
    with pytest.raises(LabelError, match=r"part train has no picture of 'a', which so cannot be learned"):
        other = np.array(["train", "validation", "test", "test"])
        require_parts(truth[[1, 2, 0, 1]], other, task, named=True)
    other = np.array(["train", "train", "test", "test"])
    with pytest.raises(LabelError, match=r"part validation has no picture. Name pictures for it"):
        require_parts(truth[[0, 1, 2, 1]], other, task, named=True)
    with pytest.raises(LabelError, match=r"part validation has no picture. Add labelled pictures"):
        require_parts(truth[[0, 1, 2, 1]], other, task, named=False)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_part_of_one_picture_cannot_be_judged_by_neighbours(name: str) -> None:
    truth = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]], bool)
    part = np.array(["train", "train", "validation", "validation", "test", "test"])
    require_parts(truth, part, Task("binary", ("a", "b")), named=True)
    part[np.flatnonzero(part == name)[0]] = "train"
    with pytest.raises(LabelError, match=f"part {name} has one picture, and two are wanted"):
        require_parts(truth, part, Task("binary", ("a", "b")), named=True)


def test_a_changed_set_of_labels_must_be_accepted() -> None:
    task = Task("binary", ("a", "b"))
    require_same_labels(task, ["b", "a"], "shop", 1, False)
    require_same_labels(task, ["a", "c"], "shop", 1, True)
    with pytest.raises(LabelError, match=r"since version 3 of shop: new 'b'; gone 'c'.*accept_changes=true"):
        require_same_labels(task, ["a", "c"], "shop", 3, False)


def test_of_several_parts_the_last_counts_and_other_words_are_refused() -> None:
    found = given_parts(lists([["test", "train"], ["train"], ["train", "validation"]]))
    assert found is not None and found.tolist() == ["test", "train", "validation"]
    assert given_parts(lists([[], []])) is None
    with pytest.raises(LabelError, match="'dev'; expected one of train, validation, test"):
        given_parts(lists([["test"], ["dev"]]))
    with pytest.raises(LabelError, match="names a part for 1 of 3 labelled pictures"):
        given_parts(lists([[], ["test"], []]))


def keys(n: int, seed: int) -> np.ndarray:
    return keys_of([f"picture {row}" for row in range(n)], seed)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=12, max_size=60), st.integers(0, 9))
def test_no_group_is_in_two_parts_and_each_label_is_on_both_sides(
    drawn: list[tuple[int, int]], seed: int
) -> None:
    label = np.array([one for one, _ in drawn])
    # Groups within a label, so that a label with two of them can be on both sides.
    _, first, inverse = np.unique(
        [10 * one + group for one, group in drawn], return_index=True, return_inverse=True
    )
    groups = first[inverse]
    truth = np.eye(4, dtype=bool)[label]
    part = stratified(truth, groups, keys(len(label), seed), 0.2, 0.2)
    assert all(len(set(part[groups == group])) == 1 for group in set(groups))
    for one in set(label):
        if len(set(groups[label == one])) > 1:
            assert {"train", "test"} <= set(part[label == one])


def test_shares_are_kept_and_pictures_keep_their_parts() -> None:
    truth = np.eye(2, dtype=bool)[np.arange(220) % 2]
    parts = [stratified(truth[:n], np.arange(n), keys(n, 0), 0.1, 0.3) for n in (200, 220)]
    counted = [[int((part == name).sum()) for name in ("train", "validation", "test")] for part in parts]
    assert counted == [[120, 20, 60], [132, 22, 66]]
    assert (parts[0] != parts[1][:200]).sum() < 20  # in a random order each time some 108 would move
    other = stratified(truth[:200], np.arange(200), keys(200, 1), 0.1, 0.3)
    assert (parts[0] != other).sum() > 60


def test_copies_of_later_parts_are_left_out() -> None:
    part = np.array(["train", "test", "validation", "train", "validation"])
    groups = np.array([0, 0, 0, 3, 4])
    assert without_copies(part, groups).tolist() == ["left_out", "test", "left_out", "train", "validation"]


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 4))
def test_near_groups_are_those_of_all_pairs(seed: int, bits: int) -> None:
    random = np.random.default_rng(seed)
    centres = random.integers(-(2**63), 2**63 - 1, 4)
    flips = np.array(
        [sum(1 << int(b) for b in random.choice(63, n, False)) for n in random.integers(0, 4, 24)]
    )
    hashes = centres[random.integers(0, 4, 24)] ^ flips.astype(np.int64)
    features = random.normal(size=(4, 8)).astype(np.float32)[random.integers(0, 4, 24)]
    features += 0.1 * random.normal(size=features.shape).astype(np.float32)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    apart = np.array([[int(a ^ b).bit_count() if a != b else 0 for b in hashes.view(np.uint64).tolist()]
                      for a in hashes.view(np.uint64).tolist()])  # fmt: skip
    hashed = random.random(24) < 0.9
    near = (apart <= bits) & (units @ units.T >= 0.9) & hashed & hashed[:, None]
    reached = np.linalg.matrix_power(near.astype(float) + np.eye(24), 24) > 0
    found = near_groups(hashes, hashed, features, bits=bits, cosine=0.9)
    assert found.tolist() == reached.argmax(axis=1).tolist()
