from __future__ import annotations

import numpy as np
import pytest

from shoal.workers.evaluation import analogies, candidates
from shoal.workers.evaluation.analogies import QuestionScore, score_analogies
from shoal.workers.evaluation.analogy_questions import Question, QuestionSection
from shoal.workers.evaluation.candidates import WordCandidates


def asked(*questions: str, name: str = "x", syntactic: bool = False) -> list[QuestionSection]:
    return [QuestionSection(name, syntactic, tuple(Question(*question.split()) for question in questions))]


# Axes are what is royal (and its opposite, young), male and female.
WORDS = ("man", "woman", "king", "queen", "boy", "girl", "Queen", "nought")
VECTORS = np.array(
    [[0, 1, 0], [0, 0, 1], [2, 1, 0], [2, 0, 1], [-2, 1, 0], [-2, 0, 1], [0, 5, -1], [0, 0, 0]], dtype=np.float32
)


def test_the_nearest_word_other_than_the_three_is_the_answer():
    scores = score_analogies(
        WordCandidates(WORDS, VECTORS), asked("man king woman queen", "man woman boy girl", "man king woman girl")
    )
    assert scores.overall == QuestionScore(2, 3, 3)


def test_a_question_with_an_unknown_word_is_not_answered():
    sections = asked("man king woman queen", "man king woman empress", "nought king woman queen")
    score = score_analogies(WordCandidates(WORDS, VECTORS), sections).overall
    assert (score, score.accuracy, score.coverage) == (QuestionScore(1, 1, 3), 1.0, 1 / 3)
    restricted = score_analogies(WordCandidates(WORDS, VECTORS, restrict=3), sections).overall
    assert (restricted, restricted.accuracy, restricted.coverage) == (QuestionScore(0, 0, 3), None, 0.0)


def test_case():
    candidates = WordCandidates(WORDS, VECTORS)
    assert score_analogies(candidates, asked("MAN King woman QUEEN")).overall == QuestionScore(1, 1, 1)
    assert score_analogies(candidates, asked("MAN King woman QUEEN"), ignore_case=False).overall == QuestionScore(0, 0, 1)
    # The question's own words are not answers, in any case.
    vectors = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 1], [2, -1, 2], [1, 0, 1]], dtype=np.float32)
    twice = WordCandidates(("king", "man", "woman", "Woman", "queen"), vectors)
    assert score_analogies(twice, asked("man king woman queen")).overall == QuestionScore(1, 1, 1)
    assert score_analogies(twice, asked("man king woman queen"), ignore_case=False).overall == QuestionScore(0, 1, 1)


def test_sums_of_sections():
    sections = [
        *asked("man king woman queen", "man king woman girl"),
        *asked("man woman boy girl", name="gram1", syntactic=True),
        *asked(name="none"),
    ]
    scores = score_analogies(WordCandidates(WORDS, VECTORS), sections)
    assert [(one.name, one.syntactic, one.score) for one in scores.sections] == [
        ("x", False, QuestionScore(1, 2, 2)),
        ("gram1", True, QuestionScore(1, 1, 1)),
        ("none", False, QuestionScore(0, 0, 0)),
    ]
    assert (scores.semantic, scores.syntactic, scores.overall) == (
        QuestionScore(1, 2, 2),
        QuestionScore(1, 1, 1),
        QuestionScore(2, 3, 3),
    )


def test_too_few_words_for_an_answer():
    candidates = WordCandidates(WORDS[:3], VECTORS[:3])
    assert score_analogies(candidates, asked("man king woman man")).overall == QuestionScore(0, 1, 1)


@pytest.mark.parametrize("seed", range(5))
def test_block_and_batch_sizes_change_nothing(monkeypatch: pytest.MonkeyPatch, seed: int):
    random = np.random.default_rng(seed)
    words = [f"{'wW'[number % 2]}{number % 37}" for number in range(50)]
    vectors = random.normal(size=(50, 4)).astype(np.float32)
    # Both forms of a word.
    vectors[[7, 44]] = 0
    questions = [" ".join(random.choice(words, 4)) for _ in range(60)]
    expected = [_plain(words, vectors, question.split()) for question in questions]
    monkeypatch.setattr(candidates, "BLOCK_ROWS", 7)
    monkeypatch.setattr(analogies, "BATCH_QUESTIONS", 11)
    table = WordCandidates(words, vectors)
    got = score_analogies(table, asked(*questions)).overall
    assert got == QuestionScore(expected.count(True), len(expected) - expected.count(None), 60)
    assert 0 < got.answered < 60


def _plain(words: list[str], vectors: np.ndarray, question: list[str]) -> bool | None:
    """The definition, literally."""
    keys = [word.casefold() for word in words]
    first = [
        next((row for row, key in enumerate(keys) if key == word.casefold() and vectors[row].any()), None)
        for word in question
    ]
    if None in first:
        return None
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    a, b, c, _ = (units[row] for row in first)
    scores = units @ (b - a + c)
    allowed = [
        row for row in range(len(words)) if vectors[row].any() and keys[row] not in {q.casefold() for q in question[:3]}
    ]
    best = max(allowed, key=lambda row: scores[row])
    return keys[best] == question[3].casefold()
