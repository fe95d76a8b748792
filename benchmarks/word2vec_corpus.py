"""What the Word2Vec benchmarks share: real text as lines and as numbers, trainings of it by us and by gensim, and scores."""

from __future__ import annotations

import lzma
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shoal.cluster.jobs.evaluation import read_pairs, read_questions
from shoal.workers.evaluation import WordCandidates, score_analogies, score_similarity
from shoal.workers.training.word2vec import (
    CorpusSettings,
    EncodedCorpus,
    Floats,
    Ids,
    Learner,
    Vocabulary,
    Word2VecSettings,
    build_vocabulary,
    encode_unit,
    merge_counts,
    plan_units,
    scan_unit,
    utf8_file,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CORPUS = SHARED / "corpus" / "enwiki-2015-100mb.txt.xz"
SENTENCE_WORDS = 1000
SIMILARITY = ("wordsim353-similarity", "rg-65", "mc-30", "yp-130", "verb-143")
"""Sets whose scores say how alike two words are."""
RELATEDNESS = ("wordsim353-relatedness", "men-3000", "mturk-287")
"""Sets whose scores say how much two words have to do with each other."""
CANDIDATES = 30_000
"""Answers to analogies are chosen from so many of the commonest words."""


def write_lines(words: int, path: Path, first: int = 0) -> None:
    """`words` words of the corpus from word `first` on, so many in a line as we take for a sentence; 0 takes all."""
    with lzma.open(CORPUS, "rt", encoding="utf-8") as file:
        # Words have about six letters here, with the blank; what is read too much is left out.
        tokens = (file.read(8 * (first + words)) if words else file.read()).split()
    tokens = tokens[first : first + words] if words else tokens[first:]
    lines = (" ".join(tokens[at : at + SENTENCE_WORDS]) for at in range(0, len(tokens), SENTENCE_WORDS))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def encoded_corpus(text: Path, folder: Path, settings: Word2VecSettings) -> EncodedCorpus:
    """The text as numbers, in `folder`."""
    counts = [scan_unit(unit, CorpusSettings(), folder) for unit in plan_units([utf8_file(text)], CorpusSettings())]
    vocabulary = build_vocabulary(merge_counts(counts, settings.min_count), settings)
    return EncodedCorpus.write(folder, "", vocabulary, [encode_unit(count, vocabulary, folder) for count in counts])


def encode(text: Path, settings: Word2VecSettings) -> tuple[Vocabulary, list[Ids]]:
    """The vocabulary of the text, and its ids, 50,000 words at a time."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = encoded_corpus(text, Path(folder), settings)
        return corpus.vocabulary, [np.array(corpus.ids(span)) for span in corpus.spans]


@dataclass(frozen=True)
class Result:
    """One training."""

    words_per_s: float
    vectors: Floats


def train(learner: Learner, leases: Sequence[Ids], settings: Word2VecSettings) -> Result:
    """All epochs, with the learning rate as a training has it."""
    # What is compiled or set up at the first call is no part of training; a rate of 0 changes nothing.
    learner.train(leases[0][:50_000], 0.0, 0.0, 0)
    total = sum(map(len, leases)) * settings.epochs
    begun, done, words = time.perf_counter(), 0, 0
    for epoch in range(settings.epochs):
        for number, ids in enumerate(leases):
            rates = settings.rate(done / total), settings.rate((done + len(ids)) / total)
            words += learner.train(ids, *rates, (settings.seed * 1000 + epoch) * 100_000 + number).words
            done += len(ids)
    seconds = time.perf_counter() - begun
    return Result(words / seconds, learner.tables().vectors())


def scores(words: Sequence[str], vectors: Floats) -> dict[str, float]:
    """Spearman's correlation for sets of pairs, and the share of analogies that are right, all of 100."""
    data = SHARED / "words"
    candidates, common = WordCandidates(words, vectors), WordCandidates(words, vectors, CANDIDATES)

    def correlation(file: str) -> float:
        return score_similarity(candidates, read_pairs(data / "similarity" / f"{file}.tsv")).spearman or 0.0

    found: dict[str, float | None] = {
        "WordSim-353": correlation("wordsim353"),
        "MEN": correlation("men-3000"),
        "similarity": statistics.mean(map(correlation, SIMILARITY)),
        "relatedness": statistics.mean(map(correlation, RELATEDNESS)),
    }
    questions = read_questions(data / "analogies" / "questions-words.dev.txt")
    found["analogies"] = score_analogies(common, questions).overall.accuracy
    return {name: 100 * (value or 0.0) for name, value in found.items()}


def spread(values: Sequence[float], scale: float = 1) -> str:
    """The median and the range."""
    return f"{statistics.median(values) / scale:.2f} [{min(values) / scale:.2f}-{max(values) / scale:.2f}]"
