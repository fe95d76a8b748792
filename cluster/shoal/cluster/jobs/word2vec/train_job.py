"""A Word2Vec training job: chooses the learners, and writes the result. `shoal train word2vec` is the command line for it;
the training itself is in `shoal.workers.training.word2vec`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.cluster.jobs.word2vec.corpus_files import find_corpus, read_corpus_unit
from shoal.cluster.ray_runtime.environment import joins_cluster
from shoal.workers.encoding.word_vectors import (
    Pooling,
    TableFormat,
    WordFolderConfig,
    WordTable,
    WordVectorError,
    check_output,
    save_table,
)
from shoal.workers.runtime import available_cores
from shoal.workers.training.word2vec import (
    AUTO,
    CHECKPOINT_EVERY_S,
    CPU,
    CUDA,
    DEVICES,
    WORK_SUFFIX,
    AveragingSettings,
    CorpusSettings,
    LearnerPool,
    LocalLearnerPool,
    Tables,
    TrainingError,
    TrainingListeners,
    TrainingSummary,
    Vocabulary,
    Word2VecSettings,
    cpu_learner,
    cuda_learner,
    train_word2vec,
    training_device,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerPoolSettings:
    """Where and by how many learners to train. Raises TrainingError when a value is out of range."""

    workers: int = 1
    """Learners, each of which trains on parts of the text; their tables are merged. A single one runs in this process
    without Ray, unless RAY_ADDRESS is set."""
    threads: int = 0
    """CPU threads of each learner. 0 takes the most with which all of them fit on the machines' cores."""
    device: str = CPU
    """`cpu`, `cuda`, or `auto`, which uses CUDA if available."""
    gpus: float = 0.0
    """Share of a GPU that Ray reserves for each learner. 0 means a whole GPU if `device` is `cuda`."""

    def __post_init__(self) -> None:
        for name, value, least in (("workers", self.workers, 1), ("threads", self.threads, 0), ("gpus", self.gpus, 0)):
            if value < least:
                raise TrainingError(f"{name} is {value}, must be at least {least}")
        if self.device not in DEVICES:
            raise TrainingError(f"device is {self.device!r}, must be one of {', '.join(DEVICES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOutput:
    """Where and how to write the trained vectors. Raises TrainingError when the values do not fit together."""

    path: Path
    form: TableFormat = TableFormat.FOLDER
    pooling: Pooling = Pooling.MEAN
    """How a folder, used as a model, combines the vectors of a text's words."""
    keep_output_vectors: bool = False
    """Whether the output vectors of the training are saved in the folder too."""

    def __post_init__(self) -> None:
        if self.form is not TableFormat.FOLDER:
            if self.pooling is not Pooling.MEAN:
                raise TrainingError(f"pooling is {self.pooling}, which format {self.form} cannot store; use format folder")
            if self.keep_output_vectors:
                raise TrainingError(f"format {self.form} cannot store the output vectors; use format folder")


def run_word2vec(
    inputs: Sequence[str],
    output: TableOutput,
    settings: Word2VecSettings | None = None,
    corpus_settings: CorpusSettings | None = None,
    averaging: AveragingSettings | None = None,
    pool: LearnerPoolSettings | None = None,
    overwrite: bool = False,
    listeners: TrainingListeners | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    hidden: bool = False,
    note: Callable[[str], None] = lambda note: None,
) -> TrainingSummary:
    """Trains word vectors on the text in `inputs` (files, folders, patterns, URIs) and writes them to `output`. `hidden` and
    `note` are those of `find_corpus`.

    Joins the Ray cluster at RAY_ADDRESS, or starts Ray here if `pool` has several workers. With `overwrite`, also that of an
    interrupted run, an existing output is replaced once the new one is complete. `train_word2vec` explains how an
    interrupted training is resumed. Raises TrainingError.
    """
    settings = settings or Word2VecSettings()
    corpus_settings = corpus_settings or CorpusSettings()
    listeners = listeners or TrainingListeners()
    # Actors have other working directories, and "." has no name from which the work folder's name can be made.
    output = dataclasses.replace(output, path=Path(os.path.abspath(output.path)))
    _check_replaceable(output, overwrite)
    listeners.phase("finding the corpus files")
    corpus = find_corpus(inputs, corpus_settings.text_fields, hidden)
    if corpus.note:
        note(corpus.note)
    with _pool(pool or LearnerPoolSettings(), settings, listeners) as members:
        return train_word2vec(
            corpus.files,
            output.path,
            lambda vocabulary, tables: _save(output, settings, corpus_settings, vocabulary, tables),
            members,
            settings,
            corpus_settings,
            averaging,
            overwrite,
            listeners,
            checkpoint_every_s,
            read_corpus_unit,
        )


def _check_replaceable(output: TableOutput, overwrite: bool) -> None:
    with _training_errors():
        check_output(output.path, output.form)
    work = output.path.with_name(output.path.name + WORK_SUFFIX)
    held = any(output.path.iterdir()) if output.path.is_dir() else output.path.exists()
    if held and not overwrite and not work.exists():
        raise TrainingError(f"{output.path}: already exists (use --overwrite; replaced only after the new one is complete)")


def most_threads(workers: int, cores: Sequence[int]) -> int:
    """The most threads with which `workers` workers fit on machines with these `cores`; 1 if there are too few cores."""
    fitting = (count for count in range(max(cores, default=1), 1, -1) if sum(own // count for own in cores) >= workers)
    return next(fitting, 1)


@contextmanager
def _pool(wanted: LearnerPoolSettings, settings: Word2VecSettings, listeners: TrainingListeners) -> Iterator[LearnerPool]:
    joins = joins_cluster()
    if wanted.workers == 1 and not joins:
        device = training_device(wanted.device, settings)
        if wanted.device == AUTO:
            listeners.device_chosen(device.name, device.reason)
        yield LocalLearnerPool(wanted.threads or available_cores(), cuda_learner if device.name == CUDA else cpu_learner)
        return
    if wanted.device not in (CPU, CUDA):
        raise TrainingError(f"device is {wanted.device!r}, but workers on a cluster need cpu or cuda")
    # Only the workers see whether there is a CUDA device, so just the settings are checked here.
    cuda = training_device(wanted.device, settings, missing=lambda: "").name == CUDA
    # Imported late: importing Ray takes a second, and a single worker does not need it.
    from shoal.cluster.jobs.word2vec.ray_pool import RayLearnerPool, node_cpus
    from shoal.cluster.ray_runtime.session import RayUnavailable, joined_ray

    listeners.phase("joining Ray" if joins else "starting Ray")
    try:
        with joined_ray(wanted.workers * (wanted.threads or 1)):
            threads = wanted.threads or (1 if cuda else most_threads(wanted.workers, node_cpus()))
            make = cuda_learner if cuda else cpu_learner
            yield RayLearnerPool(wanted.workers, threads, wanted.gpus or float(cuda), make)
    except RayUnavailable as error:
        raise TrainingError(str(error)) from error


def _save(
    output: TableOutput, settings: Word2VecSettings, corpus_settings: CorpusSettings, vocabulary: Vocabulary, tables: Tables
) -> None:
    training: dict[str, Any] = {"kind": "word2vec", **dataclasses.asdict(settings), "corpus": corpus_settings.to_json()}
    config = WordFolderConfig(
        pooling=output.pooling,
        tokenizer=corpus_settings.tokenizer,
        lowercase=corpus_settings.lowercase,
        phrases=corpus_settings.phrases > 0,
        training=training,
    )
    table = WordTable(vocabulary.words, tables.vectors(), vocabulary.counts)
    other = tables.output[:, : tables.dim] if output.keep_output_vectors else None
    with _training_errors():
        save_table(output.path, table, output.form, config, other)


@contextmanager
def _training_errors() -> Iterator[None]:
    """Raises errors of the writers of word vectors as TrainingError."""
    try:
        yield
    except WordVectorError as error:
        raise TrainingError(str(error)) from error
