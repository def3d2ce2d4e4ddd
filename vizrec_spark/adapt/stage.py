"""Wires stage `adapt`: labels and vectors to a version of an adapted encoder, judged, registered, promoted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.adapt.choose import learn
from vizrec_spark.adapt.encoders import Encoders
from vizrec_spark.adapt.fine_tune.make import Labelled, Result, Workshop
from vizrec_spark.adapt.fine_tune.pixels import contents_of
from vizrec_spark.adapt.gate import decide
from vizrec_spark.adapt.judge import Judged, judge
from vizrec_spark.adapt.judging.retrieval import mean_with_interval
from vizrec_spark.adapt.near_groups import near_groups
from vizrec_spark.adapt.pictures import Pictures, gather
from vizrec_spark.adapt.predict import precisions, predicted, to_compare
from vizrec_spark.adapt.search import search_fine_tune, search_head, together
from vizrec_spark.adapt.split import keys_of, not_judged, stratified, without_copies
from vizrec_spark.adapt.spool import Features, spool, spool_some
from vizrec_spark.adapt.task import require_parts, require_same_labels, task_of
from vizrec_spark.config.encoders import named_as
from vizrec_spark.config.models import AdaptConfig, Config, EmbedConfig
from vizrec_spark.errors import ConfigError, TableError
from vizrec_spark.kernels.adapted import Adapted, to_bytes
from vizrec_spark.kernels.trials import require_optuna
from vizrec_spark.scratch import run_folder
from vizrec_spark.stage import StageContext, StageResult, log
from vizrec_spark.tables import Written
from vizrec_spark.tables.encoders import known_encoder
from vizrec_spark.tables.fine_tuned import PREFIX, learned_from, require_alone
from vizrec_spark.tables.registry import (
    Origin,
    encoder_id_of,
    is_adapted,
    latest,
    promote,
    register,
    registered,
    serving_version,
    version_of,
)
from vizrec_spark.tables.schemas import (
    ADAPTATION_CURVES,
    ADAPTATION_METRICS,
    ADAPTATION_MISTAKES,
    ADAPTED_ENCODERS,
    CONFUSIONS,
    EMBEDDINGS,
    ENCODER_PROMOTIONS,
    IMAGES,
    ITEMS,
    LABELLED_PICTURES,
)

_SOURCES = (ITEMS, IMAGES, EMBEDDINGS)
_JUDGEMENT = (ADAPTATION_METRICS, CONFUSIONS, ADAPTATION_CURVES, ADAPTATION_MISTAKES)


@dataclass(frozen=True)
class _Base:
    """The encoder behind which head and projection are learned: its id, how `embed` names it, and its vectors."""

    encoder_id: str
    config: EmbedConfig
    features: Features


def run(context: StageContext, encoders: Encoders) -> StageResult:
    """Learns a new version of `adapt.name`, registers it with what the test pictures say, and promotes it if the gate
    lets it pass. With depth fine_tune the encoder's last blocks learn first, and the rest behind the vectors that it
    then gives.

    The row of the registry is written after all that belongs to it, and the promotion last: killed anywhere and run
    again, the same version comes of the same input. What was learned before, number for number, keeps its version.
    Raises: TableError without embeddings, or when another run has taken the version; LabelError for labels that
    nothing can be learned from; EncoderError for an encoder that cannot be fine-tuned.
    """
    tables, config = context.tables, context.config.adapt
    encoder = known_encoder(tables, context.config.embed)
    if encoder is None:
        raise TableError(
            "No embeddings of the configured encoder: run stage `embed` with this configuration first."
        )
    versions = {table.name: tables.version(table) for table in _SOURCES}
    items, images, embeddings = (tables.read_at(table, versions[table.name]) for table in _SOURCES)
    mine = embeddings.where(F.col("encoder_id") == encoder.encoder_id)
    pictures = gather(items, images, mine, config.labels)
    task = task_of(pictures.labels, pictures.several, config.labels)
    newest = latest(tables, config.name)
    if newest is not None:
        accept = config.labels.accept_changes
        require_same_labels(task, newest.classes, config.name, newest.version, accept)
    truth = task.matrix(pictures.labels)
    with run_folder(config.scratch, "vizrec-adapt-", _removed) as folder:
        began = time.monotonic()
        plain = _Base(
            encoder.encoder_id,
            named_as(EmbedConfig(), context.config.embed),
            spool(mine, pictures.sha256, encoder.dimension, folder / "features.f32"),
        )
        before = learned_from(tables, context.config.embed.encoder)
        part, groups = _parts(pictures, truth, plain.features, config, before)
        require = partial(
            require_parts,
            truth,
            task=task,
            named=pictures.part is not None,
            because=_because(before, pictures, context.config),
        )
        require(part)
        base, tuned = plain, None
        trials: list[Written] = []
        unencoded: list[str] = []
        labelled = Labelled(pictures.sha256, plain.features, truth, part, before)
        if config.depth == "fine_tune":
            source = encoders.keras_file(context)
            workshop = Workshop(context, source, labelled, task, images, folder)
            if config.search.trials:
                config, trials = search_fine_tune(context, config, labelled, task, workshop)
            tuned = workshop.make(config.fine_tune)
            log.info("adapt: %s", tuned.told)
            base, there = _behind(context, encoders, tuned, plain, pictures, images, folder)
            if lost := int((~there).sum()):
                unencoded.append(f"{lost:,} labelled pictures cannot be encoded any more and are left out")
                log.warning("adapt: %s", unencoded[0])
                part = np.where(there, part, "left_out")
                labelled = replace(labelled, part=part)
                require(part)
        if config.search.trials:
            found = search_head(context, config, base.encoder_id, base.features, labelled, task)
            config, trials = found[0], [*trials, *found[1]]
        learned = learn(base.features, truth, part, task.classes, task.kind, config)
        seconds = time.monotonic() - began
        log.info("adapt: learned in %.1f s", seconds)
        for line in learned.told:
            log.info("adapt: %s", line)
        rows = np.flatnonzero(part == "test")
        compared = to_compare(rows, config.seed)
        probabilities = predicted(learned.adapted, base.features, rows)[1]
        plainly = precisions(None, plain.features, compared, truth, config.k)
        own = precisions(learned.adapted, base.features, compared, truth, config.k)
        names = pictures.sha256.take(pa.array(rows))
        judged = judge(task, truth[rows], probabilities, plainly, own, names, config)
        current = None
        serves = _serving(context, (base, plain), learned.adapted)
        if serves is not None:
            theirs = precisions(serves[0], serves[1], compared, truth, config.k)
            current = mean_with_interval(own - theirs, config.replicates, config.seed)
    written = [_labelled(context, pictures, part, groups)]
    versions[LABELLED_PICTURES.name] = written[0].version
    origin = Origin(base.encoder_id, base.config, config.model_dump_json(), versions)
    metrics = {row.metric: row.value for row in judged.metrics if row.label == ""}
    encoder_id = encoder_id_of(base.encoder_id, config.name, learned.adapted)
    version = version_of(tables, config.name, encoder_id)
    if version is None:
        version = 1 if newest is None else int(newest.version) + 1
        written += _judgement(context, encoder_id, judged)
        written.append(
            register(tables, context.spark, config.name, version, learned.adapted, origin, metrics)
        )
    else:
        written += [tables.unchanged(table) for table in (*_JUDGEMENT, ADAPTED_ENCODERS)]
    decision = decide(judged.correct, judged.gain, current, config.k, config.gate)
    if decision.promoted and config.gate.promote:
        written.append(
            promote(tables, context.spark, config.name, config.gate.stage, version, decision.sentence)
        )
    else:
        written.append(tables.unchanged(ENCODER_PROMOTIONS))
    figures = {
        **metrics,
        "version": float(version),
        "learning_seconds": seconds,
        "passed_gate": float(decision.promoted),
    }
    notes = _notes(config, part, version, judged, decision.sentence)
    if tuned is not None:
        written = [*tuned.written, *written]
        notes.insert(1, tuned.told)
    written = [*together(trials), *written]
    notes[1:1] = unencoded
    return StageResult(written, notes, figures)


def check(config: Config) -> None:
    """Raises: ConfigError when `embed.encoder` is itself an adapted encoder or cannot be fine-tuned although it shall,
    the scratch folder is missing, or a search is asked for without Optuna; EncoderError as `require_alone`."""
    require_alone(config.embed)
    if is_adapted(config.embed.encoder):
        raise ConfigError(
            f"stage `adapt` starts from a plain encoder's vectors, and embed.encoder = {config.embed.encoder!r} is "
            "an adapted one: set embed.encoder for this run to the encoder that it was adapted from."
        )
    if config.adapt.depth == "fine_tune" and config.embed.encoder.endswith(".onnx"):
        raise ConfigError(
            f"adapt.depth = fine_tune needs an encoder of Keras, and embed.encoder = {config.embed.encoder!r} is an "
            ".onnx file, whose weights stay as they are: set adapt.depth=head, or embed.encoder to a Keras encoder."
        )
    if config.adapt.search.trials:
        require_optuna()
    if config.adapt.scratch is not None and not Path(config.adapt.scratch).is_dir():
        raise ConfigError(
            f"adapt.scratch = {config.adapt.scratch!r} is no folder: make it, or set it to null."
        )


def _removed(left: Path) -> None:
    log.info("adapt: removed the files of a run that was killed, %s", left)


def _behind(
    context: StageContext, encoders: Encoders, tuned: Result, plain: _Base, pictures: Pictures, images: DataFrame,
    folder: Path,
) -> tuple[_Base, NDArray[np.bool_]]:  # fmt: skip
    """The fine-tuned encoder and its vectors of the labelled pictures, made as `embed` will, and which pictures have
    one; without such an encoder, `plain`."""
    if tuned.encoder_id is None:
        return plain, np.ones(len(pictures), bool)
    named = context.config.embed.model_copy(
        update={
            **{name: EmbedConfig.model_fields[name].default for name in ("weights", "layer", "input_size")},
            "encoder": f"{PREFIX}{tuned.encoder_id}",
            "preprocessing": "auto",
            "options": {},
            "sha256": None,
        }
    )
    encoded = encoders.encode(context, named, contents_of(images, pictures.sha256))
    rows = encoded.rows.persist(StorageLevel.DISK_ONLY)
    try:
        log.info("adapt: %s of the labelled pictures encoded by %s", f"{rows.count():,}", encoded.encoder_id)
        features, there = spool_some(rows, pictures.sha256, encoded.dimension, folder / "tuned.f32")
    finally:
        rows.unpersist()
    return _Base(encoded.encoder_id, named_as(EmbedConfig(), encoded.config), features), there


def _parts(
    pictures: Pictures, truth: NDArray[np.bool_], features: Features, config: AdaptConfig, before: pa.Table
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """The part and the group of nearly equal pictures of each; a group never lies in two parts, and none of which the
    encoder has learned something `before` (sha256, part) is in part test."""
    split = config.split
    groups = near_groups(
        pictures.hashes,
        pictures.hashed,
        features.raw,
        bits=split.duplicate_bits,
        cosine=split.duplicate_cosine,
    )
    at = pc.index_in(pictures.sha256, value_set=before["sha256"])
    learned = (
        pc.fill_null(before["part"].combine_chunks().take(at), "")
        .to_numpy(zero_copy_only=False)
        .astype("U10")
    )
    if pictures.part is not None:
        return not_judged(without_copies(pictures.part, groups), groups, learned), groups
    keys = keys_of(pictures.sha256.to_pylist(), config.seed)
    return stratified(truth, groups, keys, split.validation_share, split.test_share, learned), groups


def _because(before: pa.Table, pictures: Pictures, config: Config) -> str:
    """What is to be said where a part has too little, of an encoder that has learned from labelled pictures before."""
    known = int(pc.sum(pc.is_in(pictures.sha256, value_set=before["sha256"])).as_py() or 0)
    if not known:
        return ""
    return (
        f" embed.encoder = {config.embed.encoder!r} has learned from {known:,} of {len(pictures):,} pictures, and "
        "is not judged on them or their like: start from the encoder that it was made from, or add other pictures."
    )


def _serving(
    context: StageContext, bases: Sequence[_Base], learned: Adapted
) -> tuple[Adapted, Features] | None:
    """The version that serves now and the vectors that it stands behind, for comparison; None without another one on
    one of `bases`.

    It may have learned from some of these test pictures, which speaks for it.
    """
    config = context.config.adapt
    version = serving_version(context.tables, config.name, config.gate.stage)
    if version is None:
        return None
    serves = registered(context.tables, config.name, version)
    if to_bytes(serves.adapted) == to_bytes(learned):
        return None
    features = {base.encoder_id: base.features for base in bases}.get(serves.base_encoder_id)
    return None if features is None else (serves.adapted, features)


def _labelled(
    context: StageContext, pictures: Pictures, part: NDArray[np.str_], groups: NDArray[np.int64]
) -> Written:
    name = context.config.adapt.name
    rows = pa.table(
        {
            "name": pa.repeat(name, len(pictures)),
            "sha256": pictures.sha256,
            "labels": pictures.labels,
            "part": pa.array(part, pa.string()),
            "group_id": pictures.sha256.take(pa.array(groups)),
        }
    )
    frame = context.spark.createDataFrame(rows)
    return context.tables.overwrite(LABELLED_PICTURES, frame, where=f"name = '{name}'")


def _judgement(context: StageContext, encoder_id: str, judged: Judged) -> list[Written]:
    of_tables: tuple[Sequence[tuple[Any, ...]], ...] = (
        judged.metrics,
        judged.confusions,
        judged.curves,
        judged.mistakes,
    )
    return [
        context.tables.overwrite(
            table,
            context.spark.createDataFrame([(encoder_id, *row) for row in rows], table.schema),
            where=f"encoder_id = '{encoder_id}'",
        )
        for table, rows in zip(_JUDGEMENT, of_tables, strict=True)
    ]


def _notes(
    adapt: AdaptConfig, part: NDArray[np.str_], version: int, judged: Judged, sentence: str
) -> list[str]:
    names = ("train", "validation", "test", "left_out")
    counted = ", ".join(f"{name} {int((part == name).sum()):,}" for name in names)
    return [
        f"pictures: {counted}",
        f"{adapt.name} version {version}: accuracy {judged.correct.value:.4f} [{judged.correct.lo:.4f}, "
        f"{judged.correct.hi:.4f}]; precision@{adapt.k} {judged.before.value:.4f} before, {judged.after.value:.4f} "
        f"after, gain {judged.gain.value:+.4f} [{judged.gain.lo:+.4f}, {judged.gain.hi:+.4f}]",
        sentence if adapt.gate.promote else f"not promoted, as adapt.gate.promote is false; {sentence}",
        f"to use it, run stage `embed` with embed.encoder=adapted:{adapt.name}",
    ]
