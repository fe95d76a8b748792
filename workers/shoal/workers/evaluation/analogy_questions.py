"""Questions of the form "a is to b as c is to what?"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True, slots=True)
class Question:
    """`a` is to `b` as `c` is to `d`."""

    a: str
    b: str
    c: str
    d: str


@dataclass(frozen=True, slots=True)
class QuestionSection:
    """Questions of one kind."""

    name: str
    syntactic: bool
    """Whether they are about the forms of words ("big" to "bigger"); otherwise about their meaning."""
    questions: tuple[Question, ...]


def words_of(sections: Sequence[QuestionSection]) -> Iterator[str]:
    """The words of all questions, in order, with repetitions."""
    questions = chain.from_iterable(section.questions for section in sections)
    return chain.from_iterable((question.a, question.b, question.c, question.d) for question in questions)
