"""Small trainings by any pool on real text (this project's documentation), with their events and results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shoal.workers.training.word2vec.averaging.averaging_settings import AveragingSettings
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.encoded_corpus import EncodedCorpus
from shoal.workers.training.word2vec.corpus.units import CorpusFile, utf8_file
from shoal.workers.training.word2vec.corpus.unread_rows import UnreadRow
from shoal.workers.training.word2vec.corpus.vocabulary import Vocabulary
from shoal.workers.training.word2vec.run.learner_pool import LearnerPool
from shoal.workers.training.word2vec.run.local_pool import LocalLearnerPool
from shoal.workers.training.word2vec.run.progress import TrainingStats
from shoal.workers.training.word2vec.run.training_run import TrainingListeners, TrainingSummary, train_word2vec
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables

ROOT = Path(__file__).resolve().parents[2]
CORPUS_SETTINGS = CorpusSettings(tokenizer="unicode", lowercase=True, unit_bytes=2000)
"""Small parts, so that there are many spans to lease."""
ROUND_WORDS = 1000


def write_text(path: Path) -> Path:
    """Some thousand words in sentences."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    path.write_text("\n".join(page.read_text(encoding="utf-8") for page in pages), encoding="utf-8")
    return path


def small_settings(**changes: object) -> Word2VecSettings:
    """A training of a second."""
    return Word2VecSettings(**{"dim": 16, "min_count": 2, "epochs": 3, "sample": 0.0, **changes})  # type: ignore[arg-type]


def equal(one: Tables, other: Tables) -> bool:
    """To the bit."""
    return np.array_equal(one.input, other.input) and np.array_equal(one.output, other.output)


class Run:
    """Trainings with the same text and output, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.text = write_text(folder / "text.txt")
        self.files: list[CorpusFile] = []
        """Instead of `text`, if there are any."""
        self.output = folder / "model"
        self.work = folder / "model.training"
        self.saved: list[tuple[Vocabulary, Tables]] = []
        self.rounds: list[TrainingStats] = []
        """Of the last training, like `phases`."""
        self.phases: list[str] = []
        self.started: list[tuple[EncodedCorpus, int]] = []
        self.too_few_words: list[tuple[int, int]] = []
        self.unread: list[UnreadRow] = []
        self.at_round: Callable[[int], None] = lambda number: None
        """Called after each round of a training, with its number from 1."""
        self.at_save: Callable[[], None] = lambda: None

    def train(
        self, settings: Word2VecSettings | None = None, pool: LearnerPool | None = None, **more: Any
    ) -> TrainingSummary:
        """Trains; `more` goes to `train_word2vec`. There is a checkpoint after nearly every round."""
        self.rounds.clear()
        self.phases.clear()
        arguments = {
            "corpus_settings": CORPUS_SETTINGS,
            "averaging": AveragingSettings(round_words=ROUND_WORDS),
            "listeners": TrainingListeners(
                phase=self.phases.append,
                unread=self.unread.append,
                started=lambda *what: self.started.append(what),
                too_few_words=lambda *what: self.too_few_words.append(what),
                advanced=self._advanced,
            ),
            "checkpoint_every_s": 0.0,
            **more,
        }
        return train_word2vec(
            self.files or [utf8_file(self.text)],
            self.output,
            self._save,
            pool or LocalLearnerPool(),
            settings or small_settings(),
            **arguments,
        )

    @property
    def tables(self) -> Tables:
        """The files of the last training."""
        return self.saved[-1][1]

    def _save(self, vocabulary: Vocabulary, tables: Tables) -> None:
        self.at_save()
        self.saved.append((vocabulary, Tables(tables.dim, tables.input.copy(), tables.output.copy())))

    def _advanced(self, stats: TrainingStats) -> None:
        self.rounds.append(stats)
        self.at_round(len(self.rounds))
