"""Scores analogies: how often the word nearest to b - a + c is the expected one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shoal.workers.evaluation.analogy_questions import Question, QuestionSection, words_of
from shoal.workers.evaluation.candidates import Floats, RowIds, WordCandidates

BATCH_QUESTIONS = 1024


@dataclass(frozen=True, slots=True)
class QuestionScore:
    """The score of some questions."""

    right: int
    answered: int
    """Questions whose four words are all candidates."""
    asked: int

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None if no question was answered."""
        return self.right / self.answered if self.answered else None

    @property
    def coverage(self) -> float:
        """Share of answered questions."""
        return self.answered / self.asked if self.asked else 0.0


@dataclass(frozen=True, slots=True)
class SectionScore:
    """The score of a section."""

    name: str
    syntactic: bool
    score: QuestionScore


@dataclass(frozen=True, slots=True)
class AnalogyScores:
    """The scores of all sections."""

    sections: tuple[SectionScore, ...]
    """In the order of the file."""

    @property
    def overall(self) -> QuestionScore:
        """The score of all questions."""
        return _sum(section.score for section in self.sections)

    @property
    def semantic(self) -> QuestionScore:
        """The score of the questions about the meaning of words."""
        return _sum(section.score for section in self.sections if not section.syntactic)

    @property
    def syntactic(self) -> QuestionScore:
        """The score of the questions about the forms of words."""
        return _sum(section.score for section in self.sections if section.syntactic)


def score_analogies(
    candidates: WordCandidates, sections: Sequence[QuestionSection], ignore_case: bool = True
) -> AnalogyScores:
    """Answers each question with the candidate d, other than a, b and c, that has the highest cos(b - a + c, d), where
    the vectors of a, b and c have unit length ("3CosAdd", Levy and Goldberg 2014, "Linguistic Regularities in Sparse and
    Explicit Word Representations"). Questions with a word that is not a candidate are not answered.

    With `ignore_case`, words that differ only in case are the same word, and the first of them provides the vector.
    """
    rows = candidates.find(words_of(sections), ignore_case)
    known = [[rows.get(word) for word in _words(question)] for question in _questions(sections)]
    answerable = [rows_of_words for rows_of_words in known if all(rows_of_words)]
    answers = iter(_answers(candidates, answerable))
    remaining = iter(known)
    scores = []
    for section in sections:
        right = answered = 0
        for _ in section.questions:
            rows_of_words = next(remaining)
            if all(rows_of_words):
                answered += 1
                right += int(next(answers)) in (rows_of_words[3] or ())
        score = QuestionScore(right, answered, len(section.questions))
        scores.append(SectionScore(section.name, section.syntactic, score))
    return AnalogyScores(tuple(scores))


def _answers(candidates: WordCandidates, questions: Sequence[Sequence[list[int] | None]]) -> RowIds:
    """The rows (n,) that answer n questions, -1 where no candidate is left. A question is given as the rows of its words."""
    if not questions:
        return np.empty(0, dtype=np.int64)
    first = np.array([[rows[0] for rows in question if rows] for question in questions])
    queries = candidates.directions(first[:, 1]) - candidates.directions(first[:, 0]) + candidates.directions(first[:, 2])
    pairs = [(index, row) for index, question in enumerate(questions) for rows in question[:3] if rows for row in rows]
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
    """Updates `best` and `best_score` (n,) with better rows of the block that begins at row `start`.

    `excluded` (pairs, 2) are question and row, relative to the batch and the block.
    """
    scores: Floats = queries @ directions.T
    inside = ((excluded >= 0) & (excluded < scores.shape)).all(axis=1)
    scores[excluded[inside, 0], excluded[inside, 1]] = -np.inf
    scores[:, without] = -np.inf
    top = scores.argmax(axis=1)
    top_score = scores[np.arange(len(scores)), top]
    # On a tie the first word wins, which is the more frequent one.
    better = top_score > best_score
    best[better], best_score[better] = top[better] + start, top_score[better]


def _questions(sections: Sequence[QuestionSection]) -> Iterable[Question]:
    return (question for section in sections for question in section.questions)


def _words(question: Question) -> tuple[str, str, str, str]:
    return question.a, question.b, question.c, question.d


def _sum(scores: Iterable[QuestionScore]) -> QuestionScore:
    all_ = list(scores)
    return QuestionScore(sum(one.right for one in all_), sum(one.answered for one in all_), sum(one.asked for one in all_))
