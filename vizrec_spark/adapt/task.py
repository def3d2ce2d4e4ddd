"""What is to be learned: the kind of task, its labels, and whether there is enough of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vizrec_spark.config.models import LabelsConfig
from vizrec_spark.errors import LabelError
from vizrec_spark.kernels.adapted import Kind

_NAMED = 5  # labels that a message names


@dataclass(frozen=True)
class Task:
    """kind: see `Kind`; classes: the labels in order, at least two."""

    kind: Kind
    classes: tuple[str, ...]

    def matrix(self, labels: pa.ListArray) -> NDArray[np.bool_]:
        """Which labels each picture has: (n, classes)."""
        found = np.zeros((len(labels), len(self.classes)), bool)
        column = pc.index_in(labels.flatten(), value_set=pa.array(self.classes)).to_numpy()
        found[pc.list_parent_indices(labels).to_numpy(), column] = True
        return found


def task_of(labels: pa.ListArray, several: bool, config: LabelsConfig) -> Task:
    """The task that `labels` (n lists of texts, none empty) ask for; `several`: whether an item may have more than one.

    Kind ``auto`` is multi_label where they may and some have, else binary for two labels and multi_class for more.
    Raises: LabelError for fewer than two labels, one with fewer than `config.min_examples` pictures, or pictures with
    several labels where the kind allows one.
    """
    counted = pc.value_counts(labels.flatten())
    count = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    classes = tuple(sorted(count))
    many = int((pc.list_value_length(labels).to_numpy() > 1).sum())
    kind = config.kind
    if kind == "auto":
        kind = "multi_label" if several and many else "binary" if len(classes) == 2 else "multi_class"
    if len(classes) < 2:
        raise LabelError(
            f"nothing to learn: {len(labels):,} labelled pictures with {len(classes)} label(s) {_some(classes)}; at "
            "least two labels are needed. Check adapt.labels.label, an SQL expression over table items."
        )
    if kind == "binary" and len(classes) != 2:
        raise LabelError(
            f"adapt.labels.kind = binary needs two labels, there are {len(classes)}: {_some(classes)}; set multi_class."
        )
    if kind != "multi_label" and many:
        raise LabelError(
            f"{many:,} pictures have more than one label, and kind {kind} allows one. Set "
            "adapt.labels.kind=multi_label, or give each item one label."
        )
    if rare := [name for name in classes if count[name] < config.min_examples]:
        raise LabelError(
            f"too few examples of {_some(rare)}: {count[rare[0]]} picture(s), at least {config.min_examples} are "
            "needed, one to learn from and one to be judged on. Add pictures, or merge or drop the label in "
            "adapt.labels.label."
        )
    return Task(kind, classes)


def require_parts(
    truth: NDArray[np.bool_], part: NDArray[np.str_], task: Task, *, named: bool, because: str = ""
) -> None:
    """Raises: LabelError when a part is empty, validation or test has one picture alone, or a label is missing from
    training or test; `named`: whether the catalogue names the parts; because: what is told beside it."""
    for name in ("train", "validation", "test"):
        there = part == name
        if there.sum() < (1 if name == "train" else 2):  # judged by the neighbours of each picture
            what = (
                "Name pictures for it in adapt.labels.part, or set that to null, and all are split by adapt.split."
                if named
                else "Add labelled pictures: nearly equal ones stay in one part."
            )
            found = "no picture" if not there.any() else "one picture, and two are wanted"
            raise LabelError(f"part {name} has {found}. {what}{because}")
        missing = [task.classes[at] for at in np.flatnonzero(~truth[there].any(axis=0))]
        if missing and name != "validation":
            use = "be learned" if name == "train" else "be judged"
            what = (
                "Give each label a picture there (one that is nearly the same as a picture of a later part does not "
                "count), set adapt.labels.part=null to have the pictures split anew, or leave the label out."
                if named
                else "Nearly equal pictures stay in one part, and it has too few others: add some, or leave the label "
                "out in adapt.labels.label."
            )
            raise LabelError(
                f"part {name} has no picture of {_some(missing)}, which so cannot {use}. {what}{because}"
            )


def require_same_labels(task: Task, known: Sequence[str], name: str, version: int, accept: bool) -> None:
    """Raises: LabelError when the labels are not those of the latest version, unless `accept`."""
    new, gone = sorted(set(task.classes) - set(known)), sorted(set(known) - set(task.classes))
    if (new or gone) and not accept:
        raise LabelError(
            f"the labels have changed since version {version} of {name}: new {_some(new)}; gone {_some(gone)}. Who "
            "reads its labels must know: set adapt.labels.accept_changes=true to go on, or take another adapt.name."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED]) or "none"
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
