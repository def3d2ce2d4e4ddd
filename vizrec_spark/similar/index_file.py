"""Arrays in files of the shared folder: how an index, and what else a search needs, comes to the workers.

Plain .npy and JSON under a name of their own, so that opening one neither runs code nor finds another run's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vizrec_spark.kernels.candidates import Admission
from vizrec_spark.kernels.hyperplanes import HashTables
from vizrec_spark.kernels.inverted import InvertedLists
from vizrec_spark.similar.capping import Occupancy
from vizrec_spark.similar.generators import Cells, Flat, Generator, Hashes
from vizrec_spark.similar.index import Index
from vizrec_spark.similar.reduction import Reduction
from vizrec_spark.similar.search import Searcher
from vizrec_spark.similar.shared import SharedFolder
from vizrec_spark.similar.splits import Splits

Arrays = dict[str, NDArray]


def save_arrays(folder: Path, arrays: Mapping[str, NDArray], facts: Mapping[str, object]) -> str:
    """Writes a new folder below `folder`; returns its path."""
    path = folder / uuid4().hex
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    (path / "facts.json").write_text(json.dumps(facts))
    return str(path)


def load_arrays(path: str) -> tuple[Arrays, dict]:
    """What `save_arrays` wrote."""
    arrays = {file.stem: np.load(file, allow_pickle=False) for file in Path(path).glob("*.npy")}
    return arrays, json.loads((Path(path) / "facts.json").read_text())


def save_index(index: Index, k: int | None = None) -> str:
    """Writes the index into its folder; returns the path for `open_index`. k: how many neighbours it is good for."""
    lists, reduction = index.lists, index.reduction
    arrays: Arrays = {"mean": reduction.mean, "starts": lists.starts, "members": lists.members}
    arrays["order"] = _cell_by_cell(lists, index.shared.n_items)
    if reduction.basis is not None:
        arrays["basis"] = reduction.basis
    own, kind = _written(index.generator)
    facts = {
        "shared": asdict(index.shared),
        "metric": reduction.metric,
        "rerank": index.rerank,
        "k": k,
        "occupancy": asdict(index.occupancy),
        "generator": kind,
    }
    return save_arrays(Path(index.shared.path), {**arrays, **own}, facts)


def open_index(path: str) -> tuple[Searcher, pa.Array, NDArray[np.int64]]:
    """The searcher, the ids, and the items in the order in which to ask for them: those of one cell together."""
    arrays, facts = load_arrays(path)
    index = Index(
        SharedFolder(**facts["shared"]),
        Reduction(facts["metric"], arrays.get("basis"), arrays["mean"]),
        _read(arrays, facts["generator"]),
        InvertedLists(arrays["starts"], arrays["members"]),
        facts["rerank"],
        Occupancy(**facts["occupancy"]),
    )
    return index.searcher(), index.shared.ids(), arrays["order"]


def good_for(path: str) -> int | None:
    """For how many neighbours the index was tuned; None where it does not matter."""
    k = json.loads((Path(path) / "facts.json").read_text())["k"]
    return None if k is None else int(k)


def admission_arrays(admission: Admission) -> Arrays:
    """The arrays of `admission`, by the names of its fields."""
    return {field.name: getattr(admission, field.name) for field in fields(admission)}


def admission_in(arrays: Arrays) -> Admission:
    """The admission among `arrays`."""
    return Admission(**{field.name: arrays[field.name] for field in fields(Admission)})


def _cell_by_cell(lists: InvertedLists, n_items: int) -> NDArray[np.int64]:
    first_cell = np.empty(n_items, dtype=np.int64)
    cell = np.repeat(np.arange(len(lists.sizes)), lists.sizes)
    first_cell[lists.members[::-1]] = cell[::-1]
    return np.argsort(first_cell, kind="stable")


def _written(generator: Generator) -> tuple[Arrays, dict[str, Any]]:
    if isinstance(generator, Flat):
        return {}, {"kind": "flat", "n_items": generator.n_items, "block": generator.block}
    if isinstance(generator, Cells):
        arrays = {"centroids": generator.centroids, "reach": generator.reach}
        return {**arrays, **_arrays(generator.splits)}, {"kind": "cells", "probed": generator.probed}
    if not isinstance(generator, Hashes):
        raise TypeError(f"expected one of the generators of this package, got {type(generator).__name__}")
    arrays = {"planes": generator.tables.planes, "cutting": generator.cutting, **_arrays(generator.splits)}
    tables = {"tables": generator.tables.tables, "bits": generator.tables.bits}
    return arrays, {"kind": "lsh", "probed": generator.probed, **tables}


def _arrays(splits: Splits) -> Arrays:
    return {f"split_{field.name}": getattr(splits, field.name) for field in fields(Splits)}


def _read(arrays: Arrays, facts: dict) -> Generator:
    if facts["kind"] == "flat":
        return Flat(facts["n_items"], facts["block"])
    splits = Splits(**{field.name: arrays[f"split_{field.name}"] for field in fields(Splits)})
    if facts["kind"] == "cells":
        return Cells(arrays["centroids"], facts["probed"], splits, arrays["reach"])
    tables = HashTables(arrays["planes"], facts["tables"], facts["bits"])
    return Hashes(tables, facts["probed"], arrays["cutting"], splits)
