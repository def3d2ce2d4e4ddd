"""Wires stage `adapt`: labels and stored vectors to a version of an adapted encoder, judged, registered, promoted."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import functions as F

from vizrec_spark.adapt.choose import Learned, learn, predictions
from vizrec_spark.adapt.gate import decide
from vizrec_spark.adapt.judge import Judged, judge
from vizrec_spark.adapt.judging.retrieval import Mean, mean_with_interval, neighbour_precision
from vizrec_spark.adapt.pictures import Pictures, gather
from vizrec_spark.adapt.split import stratified, without_copies
from vizrec_spark.adapt.spool import Features, spool
from vizrec_spark.adapt.task import Task, require_parts, require_same_labels, task_of
from vizrec_spark.config.models import Config, EmbedConfig
from vizrec_spark.errors import ConfigError, TableError
from vizrec_spark.kernels.adapted import to_bytes
from vizrec_spark.kernels.near_groups import near_groups
from vizrec_spark.stage import Stage, StageContext, StageResult, log
from vizrec_spark.tables import Table, Written
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.registry import (
    Origin,
    is_adapted,
    latest,
    promote,
    register,
    registered,
    serving_version,
)
from vizrec_spark.tables.schemas import (
    ADAPTATION_CURVES,
    ADAPTATION_METRICS,
    ADAPTATION_MISTAKES,
    CONFUSIONS,
    EMBEDDINGS,
    ENCODER_PROMOTIONS,
    ENCODERS,
    IMAGES,
    ITEMS,
    LABELLED_PICTURES,
)

_SOURCES = (ITEMS, IMAGES, EMBEDDINGS)


def run(context: StageContext) -> StageResult:
    """Learns a new version of `adapt.name`, registers it with what the test pictures say, and promotes it if the gate
    lets it pass.

    The row of the registry is written after all that belongs to it, and the promotion last: killed anywhere and run
    again, the same version comes of the same input.
    Raises: TableError without embeddings; LabelError for labels that nothing can be learned from.
    """
    tables, config = context.tables, context.config.adapt
    base = current_encoder(tables, context.config.embed)
    if base is None:
        raise TableError(
            "No embeddings of the configured encoder: run stage `embed` with this configuration first."
        )
    dimension = tables.read(ENCODERS).where(F.col("encoder_id") == base).collect()[0].dimension
    versions = {table.name: tables.version(table) for table in _SOURCES}
    items, images, embeddings = (tables.read_at(table, versions[table.name]) for table in _SOURCES)
    mine = embeddings.where(F.col("encoder_id") == base)
    pictures = gather(items, images, mine, config.labels)
    task = task_of(pictures.labels, pictures.several, config.labels)
    newest = latest(tables, config.name)
    if newest is not None:
        accept = config.labels.accept_changes
        require_same_labels(task, newest.classes, config.name, newest.version, accept)
    truth = task.matrix(pictures.labels)
    with tempfile.TemporaryDirectory(prefix="vizrec-adapt-", dir=config.scratch) as folder:
        began = time.monotonic()
        features = spool(mine, pictures.sha256, dimension, Path(folder) / "features.f32")
        part, groups = _parts(pictures, truth, features, context.config)
        require_parts(truth, part, task)
        learned = learn(features, truth, part, task.classes, task.kind, config)
        seconds = time.monotonic() - began
        log.info("adapt: learned from stored vectors in %.1f s", seconds)
        for line in learned.told:
            log.info("adapt: %s", line)
        rows = np.flatnonzero(part == "test")
        judged = _judged(task, truth, pictures, features, rows, learned, context.config)
        current = _against_serving(context, base, features, rows, truth, learned)
    rows_of = [
        (config.name, sha256, labels, str(where), pictures.sha256[group])
        for sha256, labels, where, group in zip(
            pictures.sha256, pictures.labels, part, groups.tolist(), strict=True
        )
    ]
    origin = Origin(base, _base_config(context.config.embed), config.model_dump_json(), versions)
    metrics = {row.metric: row.value for row in judged.metrics if row.label == ""}
    written = [_replaced(context, LABELLED_PICTURES, rows_of, f"name = '{config.name}'")]
    version = 1 if newest is None else int(newest.version) + 1
    written += _judgement(context, version, judged)
    made, row = register(tables, context.spark, config.name, learned.adapted, origin, metrics)
    if made != version:  # the same numbers as a version that is there: what was said of it stands
        written += _forgotten(context, version)
    written.append(row)
    decision = decide(judged.correct, judged.gain, current, config.k, config.gate)
    if decision.promoted and config.gate.promote:
        written.append(
            promote(tables, context.spark, config.name, config.gate.stage, made, decision.sentence)
        )
    else:
        written.append(tables.unchanged(ENCODER_PROMOTIONS))
    return StageResult(written, _notes(context.config, part, made, judged, decision.sentence))


def check(config: Config) -> None:
    """Raises: ConfigError when `embed.encoder` is itself an adapted encoder, or the scratch folder is missing."""
    if is_adapted(config.embed.encoder):
        raise ConfigError(
            f"stage `adapt` starts from a plain encoder's vectors, and embed.encoder = {config.embed.encoder!r} is "
            "an adapted one: set embed.encoder for this run to the encoder that it was adapted from."
        )
    if config.adapt.scratch is not None and not Path(config.adapt.scratch).is_dir():
        raise ConfigError(
            f"adapt.scratch = {config.adapt.scratch!r} is no folder: make it, or set it to null."
        )


STAGE = Stage("adapt", "teach an encoder the labels of this catalogue", run, check)


def _base_config(embed: EmbedConfig) -> EmbedConfig:
    """What names the encoder; how it is run may change."""
    names = {"encoder", "weights", "layer", "input_size", "preprocessing", "options", "precision"}
    return EmbedConfig().model_copy(update={name: getattr(embed, name) for name in names})


def _parts(
    pictures: Pictures, truth: NDArray[np.bool_], features: Features, config: Config
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """The part and the group of nearly equal pictures of each; a group never lies in two parts."""
    split = config.adapt.split
    groups = np.arange(len(truth), dtype=np.int64)
    known = np.flatnonzero(pictures.hashed)
    near = near_groups(
        pictures.hashes[known], features.raw[known], bits=split.duplicate_bits, cosine=split.duplicate_cosine
    )
    groups[known] = known[near]
    if pictures.part[0] is None:
        seed = config.adapt.seed
        return stratified(truth, groups, split.validation_share, split.test_share, seed), groups
    return without_copies(np.array(pictures.part), groups), groups


def _judged(
    task: Task, truth: NDArray[np.bool_], pictures: Pictures, features: Features, rows: NDArray[np.int64],
    learned: Learned, config: Config,
) -> Judged:  # fmt: skip
    vectors, probabilities = predictions(learned.adapted, features, rows)
    adapt = config.adapt
    return judge(
        task, truth[rows], probabilities, np.asarray(features.raw[rows]), vectors,
        [pictures.sha256[row] for row in rows], k=adapt.k, replicates=adapt.replicates, mistakes=adapt.mistakes,
        seed=adapt.seed,
    )  # fmt: skip


def _against_serving(
    context: StageContext, base: str, features: Features, rows: NDArray[np.int64], truth: NDArray[np.bool_],
    learned: Learned,
) -> Mean | None:  # fmt: skip
    """The gain in precision over the version that serves now, on these test pictures; None without one on this base.

    That version may have learned from some of these pictures, which speaks for it.
    """
    config = context.config.adapt
    version = serving_version(context.tables, config.name, config.gate.stage)
    if version is None:
        return None
    serves = registered(context.tables, config.name, version)
    if serves.base_encoder_id != base or to_bytes(serves.adapted) == to_bytes(learned.adapted):
        return None
    old, new = (predictions(which, features, rows)[0] for which in (serves.adapted, learned.adapted))
    one, two = (neighbour_precision(vectors, truth[rows], config.k) for vectors in (old, new))
    return mean_with_interval(two - one, config.replicates, config.seed)


def _judgement(context: StageContext, version: int, judged: Judged) -> list[Written]:
    name = context.config.adapt.name
    return [
        _replaced(
            context,
            table,
            [(name, version, *row) for row in rows],
            f"name = '{name}' AND version = {version}",
        )
        for table, rows in (
            (ADAPTATION_METRICS, judged.metrics),
            (CONFUSIONS, judged.confusions),
            (ADAPTATION_CURVES, judged.curves),
            (ADAPTATION_MISTAKES, judged.mistakes),
        )
    ]


def _forgotten(context: StageContext, version: int) -> list[Written]:
    mine = (F.col("name") == context.config.adapt.name) & (F.col("version") == version)
    return [
        context.tables.delete(table, mine)
        for table in (ADAPTATION_METRICS, CONFUSIONS, ADAPTATION_CURVES, ADAPTATION_MISTAKES)
    ]


def _replaced(context: StageContext, table: Table, rows: list[Any], where: str) -> Written:
    return context.tables.overwrite(table, context.spark.createDataFrame(rows, table.schema), where=where)


def _notes(config: Config, part: NDArray[np.str_], version: int, judged: Judged, sentence: str) -> list[str]:
    adapt, names = config.adapt, ("train", "validation", "test", "left_out")
    counted = ", ".join(f"{name} {int((part == name).sum()):,}" for name in names)
    return [
        f"pictures: {counted}",
        f"{adapt.name} version {version}: accuracy {judged.correct.value:.4f} [{judged.correct.lo:.4f}, "
        f"{judged.correct.hi:.4f}]; precision@{adapt.k} {judged.before.value:.4f} before, {judged.after.value:.4f} "
        f"after, gain {judged.gain.value:+.4f} [{judged.gain.lo:+.4f}, {judged.gain.hi:+.4f}]",
        sentence if adapt.gate.promote else f"not promoted, as adapt.gate.promote is false; {sentence}",
        f"to use it, run stage `embed` with embed.encoder=adapted:{adapt.name}",
    ]
