"""Scores analogies: how often the word nearest to b - a + c is the one that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shoal.workers.evaluation.analogy_questions import Question, QuestionSection, words_of
from shoal.workers.evaluation.candidates import Floats, RowIds, WordCandidates, folded

BATCH_QUESTIONS = 1024


@dataclass(frozen=True, slots=True)
class QuestionScore:
    """How some questions went."""

    right: int
    answered: int
    """Those of which all four words are candidates."""
    asked: int

    @property
    def accuracy(self) -> float | None:
        """Right of answered; None where none was answered."""
        return self.right / self.answered if self.answered else None

    @property
    def coverage(self) -> float:
        """Answered of asked."""
        return self.answered / self.asked if self.asked else 0.0


@dataclass(frozen=True, slots=True)
class SectionScore:
    """How the questions of a section went."""

    name: str
    syntactic: bool
    score: QuestionScore


@dataclass(frozen=True, slots=True)
class AnalogyScores:
    """By section, in the order of the file."""

    sections: tuple[SectionScore, ...]

    @property
    def overall(self) -> QuestionScore:
        """Of all questions."""
        return _sum(section.score for section in self.sections)

    @property
    def semantic(self) -> QuestionScore:
        """Of the questions about what words mean."""
        return _sum(section.score for section in self.sections if not section.syntactic)

    @property
    def syntactic(self) -> QuestionScore:
        """Of the questions about the forms of words."""
        return _sum(section.score for section in self.sections if section.syntactic)


def score_analogies(
    candidates: WordCandidates, sections: Sequence[QuestionSection], ignore_case: bool = True
) -> AnalogyScores:
    """Answers each question with the candidate d, other than a, b and c, of the greatest cos(b - a + c, d), the vectors of
    a, b and c being of length one ("3CosAdd", Levy and Goldberg 2014, "Linguistic Regularities in Sparse and Explicit Word
    Representations"). A question with a word that is no candidate is not answered.

    With `ignore_case`, words that differ in case alone are the same word, and the first of them gives the vector.
    """
    rows = candidates.find(words_of(sections), ignore_case)
    known = [[rows.get(folded(word, ignore_case)) for word in _words(question)] for question in _questions(sections)]
    answerable = [places for places in known if all(places)]
    answers = iter(_answers(candidates, answerable))
    remaining = iter(known)
    scores = []
    for section in sections:
        right = answered = 0
        for _ in section.questions:
            places = next(remaining)
            if all(places):
                answered += 1
                right += int(next(answers)) in (places[3] or ())
        score = QuestionScore(right, answered, len(section.questions))
        scores.append(SectionScore(section.name, section.syntactic, score))
    return AnalogyScores(tuple(scores))


def _answers(candidates: WordCandidates, questions: Sequence[Sequence[list[int] | None]]) -> RowIds:
    """The row that answers each of n questions (n,), -1 where no candidate is left; a question is the rows of its words."""
    if not questions:
        return np.empty(0, dtype=np.int64)
    first = np.array([[places[0] for places in question if places] for question in questions])
    queries = candidates.directions(first[:, 1]) - candidates.directions(first[:, 0]) + candidates.directions(first[:, 2])
    pairs = [
        (number, row) for number, question in enumerate(questions) for places in question[:3] if places for row in places
    ]
    excluded = np.array(pairs, dtype=np.int64)
    best, best_score = np.full(len(queries), -1, dtype=np.int64), np.full(len(queries), -np.inf, dtype=np.float32)
    for start, directions, without in candidates.blocks():
        for begin in range(0, len(queries), BATCH_QUESTIONS):
            end = min(begin + BATCH_QUESTIONS, len(queries))
            _improve(
                best[begin:end],
                best_score[begin:end],
                queries[begin:end],
                directions,
                without,
                start,
                excluded - [begin, start],
            )
    return best


def _improve(
    best: RowIds, best_score: Floats, queries: Floats, directions: Floats, without: RowIds, start: int, excluded: RowIds
) -> None:
    """Puts into `best` and `best_score` (n,) what is better among the rows of a block that begins at row `start`.

    `excluded` (pairs, 2) are question and row, counted from the beginning of the batch and of the block.
    """
    scores: Floats = queries @ directions.T
    inside = ((excluded >= 0) & (excluded < scores.shape)).all(axis=1)
    scores[excluded[inside, 0], excluded[inside, 1]] = -np.inf
    scores[:, without] = -np.inf
    top = scores.argmax(axis=1)
    top_score = scores[np.arange(len(scores)), top]
    # Of equals the commoner word, which came first, stays.
    better = top_score > best_score
    best[better], best_score[better] = top[better] + start, top_score[better]


def _questions(sections: Sequence[QuestionSection]) -> Iterable[Question]:
    return (question for section in sections for question in section.questions)


def _words(question: Question) -> tuple[str, str, str, str]:
    return question.a, question.b, question.c, question.d


def _sum(scores: Iterable[QuestionScore]) -> QuestionScore:
    all_ = list(scores)
    return QuestionScore(sum(one.right for one in all_), sum(one.answered for one in all_), sum(one.asked for one in all_))
