"""Runs a Word2Vec training from text to the saved vectors.

The caller provides the learners (a `LearnerPool`), a function that saves the vectors, and listeners for progress.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shoal.workers.training.word2vec.averaging.averaging_settings import AveragingSettings
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.counting import UnitCounts, scan_unit
from shoal.workers.training.word2vec.corpus.encoded_corpus import EncodedCorpus, encode_unit
from shoal.workers.training.word2vec.corpus.phrases import join_phrases
from shoal.workers.training.word2vec.corpus.text_blocks import UnitReader
from shoal.workers.training.word2vec.corpus.units import CorpusFile, CorpusUnit, corpus_digest, plan_units
from shoal.workers.training.word2vec.corpus.unread_rows import UnreadRow, unread_rows
from shoal.workers.training.word2vec.corpus.vocabulary import Vocabulary, build_vocabulary, merge_counts
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.run.checkpoint import CHECKPOINT_EVERY_S
from shoal.workers.training.word2vec.run.interruption import Interruption
from shoal.workers.training.word2vec.run.learner_pool import Assignment, LearnerPool, MachineMemory
from shoal.workers.training.word2vec.run.progress import TrainingProgress, TrainingStats, TrainingTotals
from shoal.workers.training.word2vec.run.rounds import Rounds, RoundsPlan
from shoal.workers.training.word2vec.run.schedule import worthwhile_learners
from shoal.workers.training.word2vec.run.work_folder import WorkFolder
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables, padded

Save = Callable[[Vocabulary, Tables], None]
"""Saves the trained vectors. Raises TrainingError; the previous output is kept then."""


@dataclass(frozen=True, slots=True)
class CorpusStats:
    """Counts over the text."""

    words: int
    """Words of the text, in the vocabulary or not."""
    sentences: int
    replaced: int
    """How many U+FFFD replaced invalid UTF-8."""
    replaced_in: tuple[str, ...]
    """The files that these are in."""


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class TrainingListeners:
    """Called as the training proceeds."""

    phase: Callable[[str], None] = _nothing
    """What the training does now."""
    scanned: Callable[[int, int], None] = _nothing
    """How many parts of the corpus are read, and how many there are."""
    unread: Callable[[UnreadRow], None] = _nothing
    """A row without a text that can be read; all of them in order, once the corpus is read or taken from an earlier run."""
    started: Callable[[EncodedCorpus, int], None] = _nothing
    """The corpus, and how many words earlier runs trained."""
    advanced: Callable[[TrainingStats], None] = _nothing
    """A round is finished."""
    device_chosen: Callable[[str, str], None] = _nothing
    """The device and the reason for it, where the user left the choice open."""
    too_few_words: Callable[[int, int], None] = _nothing
    """The words of all epochs, which are too few for the number of learners, and how many learners they are enough for."""


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What a finished training did."""

    vocabulary: int
    """Words that have vectors."""
    corpus_words: int
    """Occurrences of these words in the corpus."""
    corpus: CorpusStats | None
    """Counts over the text; None if an earlier run read it."""
    trained_before: int
    """Words that earlier runs trained."""
    lost: int
    """Learners lost during this run."""
    loss: float
    """Mean loss of a pair of words in the last minute."""
    totals: TrainingTotals
    scan_s: float
    """Seconds for reading, counting and encoding the corpus."""
    seconds: float
    """Duration of this run."""


def train_word2vec(
    files: Sequence[CorpusFile],
    output: Path,
    save: Save,
    pool: LearnerPool,
    settings: Word2VecSettings,
    corpus_settings: CorpusSettings | None = None,
    averaging: AveragingSettings | None = None,
    overwrite: bool = False,
    listeners: TrainingListeners | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    reader: UnitReader | None = None,
) -> TrainingSummary:
    """Trains on the text in `files` and passes the result to `save`, which writes `output`. `reader`, which must be the same
    function in all processes, reads files with pieces.

    Until then the folder `<output>.training` has the state of the training: called again with the same arguments after any
    interruption, this resumes from it. `overwrite` starts over. After SIGINT or SIGTERM the current round is finished and a
    checkpoint written before the signal has its usual effect. Always closes the pool. Raises TrainingError, also when
    nothing was trained.
    """
    started_s = time.monotonic()
    corpus_settings = corpus_settings or CorpusSettings()
    averaging = averaging or AveragingSettings()
    listeners = listeners or TrainingListeners()
    try:
        units = plan_units(files, corpus_settings)
        digest = corpus_digest(
            units, corpus_settings, {"min_count": settings.min_count, "max_vocabulary": settings.max_vocabulary}
        )
        work = WorkFolder(output)
        try:
            work.begin(_identity(units, corpus_settings, settings, digest), overwrite)
            found, encoded = None, work.encoded_corpus(digest)
            if encoded is None:
                counts = _scan(work.corpus, units, corpus_settings, pool, listeners, reader)
                found = _corpus_stats(units, counts)
                _report_unread(work.corpus, listeners)
                encoded = _encode(work.corpus, counts, digest, corpus_settings, settings, pool, listeners)
            else:
                _report_unread(work.corpus, listeners)
            scanned_s = time.monotonic()
            pool.begin(Assignment(settings, str(work.corpus), averaging.scheme))
            check_memory(pool.machines(), len(encoded.vocabulary.words), settings.dim)
            plan = _plan(encoded, settings, averaging, work.checkpoint, checkpoint_every_s)
            rounds = Rounds(plan, pool)
            progress = _train(rounds, encoded, pool, settings.epochs * encoded.words, listeners)
            tables = rounds.tables()
            if not tables.trained():
                work.remove()
                raise TrainingError(nothing_trained(encoded.words, encoded.sentences, settings, corpus_settings))
            listeners.phase("saving")
            with _kept_if_it_fails(rounds):
                save(encoded.vocabulary, tables)
            work.remove()
        finally:
            work.close()
        return TrainingSummary(
            vocabulary=plan.words,
            corpus_words=encoded.words,
            corpus=found,
            trained_before=rounds.resumed_at,
            lost=pool.lost,
            loss=progress.stats().loss,
            totals=progress.totals(),
            scan_s=scanned_s - started_s,
            seconds=time.monotonic() - started_s,
        )
    finally:
        pool.close()


@contextmanager
def _kept_if_it_fails(rounds: Rounds) -> Iterator[None]:
    """Writes a checkpoint when the block raises: the training is not lost when the disk is full."""
    try:
        yield
    except BaseException:
        with suppress(TrainingError):
            rounds.save()
        raise


def nothing_trained(words: int, sentences: int, settings: Word2VecSettings, corpus_settings: CorpusSettings) -> str:
    """Why the tables are as at the start, after training on some words of the vocabulary in some sentences."""
    if words == sentences:
        return (
            "nothing was trained: words are learned from their neighbours, and no sentence has two words of the vocabulary "
            f"(sentences: {sentences}, min_count: {settings.min_count}, max_sentence: {corpus_settings.max_sentence})"
        )
    return (
        f"nothing was trained: subsampling dropped the neighbours of all {words} words in each epoch "
        f"(sample is {settings.sample}); use sample 0 for a small text"
    )


def table_bytes(words: int, dim: int, alone: bool = False) -> int:
    """The memory of a learner: two float32 tables, and as much again for the initial tables. One that is not alone needs at
    most twice as much, for the base, its deltas and the merged deltas."""
    return (2 if alone else 4) * 2 * 4 * words * padded(dim)


def check_memory(machines: Sequence[MachineMemory], words: int, dim: int) -> None:
    """Raises TrainingError when the learners of a machine need more memory than is free on it."""
    alone = sum(machine.learners for machine in machines) == 1
    for machine in machines:
        needed = machine.learners * table_bytes(words, dim, alone)
        if needed > machine.free_bytes:
            raise TrainingError(
                f"{words} words of dim {dim} need {_gib(needed)} on {machine.name} (two tables and copies, "
                f"{machine.learners} times), but {_gib(machine.free_bytes)} are free; use a smaller dim or max_vocabulary"
            )


def _plan(
    encoded: EncodedCorpus, settings: Word2VecSettings, averaging: AveragingSettings, checkpoint: Path, every_s: float
) -> RoundsPlan:
    return RoundsPlan(
        settings=settings,
        averaging=averaging,
        span_words=tuple(span.words for span in encoded.spans),
        words=len(encoded.vocabulary.words),
        digest=encoded.vocabulary.digest(),
        checkpoint=checkpoint,
        checkpoint_every_s=every_s,
    )


def _train(
    rounds: Rounds, encoded: EncodedCorpus, pool: LearnerPool, total_words: int, listeners: TrainingListeners
) -> TrainingProgress:
    listeners.phase("training")
    with Interruption() as interruption:
        rounds.prepare()
        listeners.started(encoded, rounds.resumed_at)
        if len(pool.learners) > (worthwhile := worthwhile_learners(total_words)):
            listeners.too_few_words(total_words, worthwhile)
        progress = rounds.run(lambda: interruption.noted, lambda progress: listeners.advanced(progress.stats()))
        if not rounds.finished:
            interruption.answer()
            raise KeyboardInterrupt
    return progress


def _scan(
    folder: Path,
    units: Sequence[CorpusUnit],
    corpus_settings: CorpusSettings,
    pool: LearnerPool,
    listeners: TrainingListeners,
    reader: UnitReader | None,
) -> list[UnitCounts]:
    """Counts the words of the text, and stores it in `folder`."""
    listeners.phase("reading the corpus")
    counts: list[UnitCounts] = []
    for part in pool.map(partial(scan_unit, corpus_settings=corpus_settings, folder=folder, reader=reader), units):
        counts.append(part)
        listeners.scanned(len(counts), len(units))
    return counts


def _report_unread(folder: Path, listeners: TrainingListeners) -> None:
    for row in unread_rows(folder):
        listeners.unread(row)


def _corpus_stats(units: Sequence[CorpusUnit], counts: Sequence[UnitCounts]) -> CorpusStats:
    return CorpusStats(
        words=sum(part.words for part in counts),
        sentences=sum(part.sentences for part in counts),
        replaced=sum(part.replaced for part in counts),
        replaced_in=tuple(dict.fromkeys(unit.path for unit, part in zip(units, counts, strict=True) if part.replaced)),
    )


def _encode(
    folder: Path,
    counts: list[UnitCounts],
    digest: str,
    corpus_settings: CorpusSettings,
    settings: Word2VecSettings,
    pool: LearnerPool,
    listeners: TrainingListeners,
) -> EncodedCorpus:
    """Encodes the text as ids, in `folder`."""
    if corpus_settings.phrases:
        listeners.phase("joining phrases")
        counts = join_phrases(counts, corpus_settings, folder, pool.map)
    listeners.phase("counting words")
    vocabulary = build_vocabulary(merge_counts(counts, settings.min_count), settings)
    listeners.phase("encoding the corpus")
    encoded = list(pool.map(partial(encode_unit, vocabulary=vocabulary, folder=folder), counts))
    return EncodedCorpus.write(folder, digest, vocabulary, encoded)


def _identity(
    units: Sequence[CorpusUnit], corpus_settings: CorpusSettings, settings: Word2VecSettings, digest: str
) -> Mapping[str, Any]:
    """Everything that decides the result, by the names used in messages. The corpus digest is last: it follows from
    others."""
    files = sorted({unit.path for unit in units})
    return {**asdict(settings), **corpus_settings.to_json(), "files": files, "digest of the corpus": digest}


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
