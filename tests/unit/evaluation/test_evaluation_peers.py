"""The same results as gensim's, on real vectors and real questions."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.cluster.jobs.evaluation import read_pairs, read_questions
from shoal.workers.evaluation.analogies import score_analogies
from shoal.workers.evaluation.candidates import WordCandidates
from shoal.workers.evaluation.nearest import nearest_words
from shoal.workers.evaluation.similarity import score_similarity
from support.shared_data import shared_data

WORDS = 8000


@pytest.fixture(scope="module")
def table() -> tuple[list[str], np.ndarray]:
    """The most common words of GloVe, a few of them also in capitals with other vectors."""
    folder = shared_data("ann/glove-50-100k")
    with lzma.open(folder / "base_words.txt.xz", "rt", encoding="utf-8", newline="\n") as file:
        words = [next(file).rstrip("\n") for _ in range(WORDS)]
    words[1000:1400] = [word.capitalize() for word in words[:400]]
    return words, np.load(folder / "base.f16.npy", mmap_mode="r")[:WORDS].astype(np.float32)


@pytest.fixture(scope="module")
def peer(table: tuple[list[str], np.ndarray]) -> Any:
    keyed_vectors = pytest.importorskip("gensim.models").KeyedVectors(50)
    keyed_vectors.add_vectors(*table)
    return keyed_vectors


@pytest.mark.parametrize("ignore_case", [True, False])
def test_analogies_by_section(table: tuple[list[str], np.ndarray], peer: Any, tmp_path: Path, ignore_case: bool):
    lines = shared_data("words/analogies/questions-words.dev.txt").read_text().splitlines()
    # Some of each section: the peer answers one question at a time.
    some = [line for number, line in enumerate(lines) if line.startswith(":") or number % 9 == 0]
    path = tmp_path / "questions.txt"
    path.write_text("\n".join(some))
    scores = score_analogies(WordCandidates(*table, restrict=7000), read_questions(path), ignore_case)
    accuracy, sections = peer.evaluate_word_analogies(str(path), restrict_vocab=7000, case_insensitive=ignore_case)
    expected = [(one["section"], len(one["correct"]), len(one["correct"]) + len(one["incorrect"])) for one in sections[:-1]]
    assert [(one.name, one.score.right, one.score.answered) for one in scores.sections] == expected
    assert scores.overall.accuracy == accuracy
    assert scores.overall.answered > 100 and 0 < accuracy < 1


@pytest.mark.parametrize("name", ["wordsim353", "men-3000", "yp-130"])
def test_similarity(table: tuple[list[str], np.ndarray], peer: Any, name: str):
    path = shared_data(f"words/similarity/{name}.tsv")
    score = score_similarity(WordCandidates(*table), read_pairs(path))
    _, (correlation, _), unknown_percent = peer.evaluate_word_pairs(str(path))
    assert score.spearman == pytest.approx(correlation, abs=1e-9)
    assert score.coverage == pytest.approx(1 - unknown_percent / 100)


def test_nearest_words(table: tuple[list[str], np.ndarray], peer: Any):
    found = nearest_words(WordCandidates(*table), ["king", "woman"], ["man"], count=20)
    expected = peer.most_similar(positive=["king", "woman"], negative=["man"], topn=20)
    assert [one.word for one in found] == [word for word, _ in expected]
    assert [one.cosine for one in found] == pytest.approx([cosine for _, cosine in expected], abs=1e-5)
