"""Reads questions of the form "a is to b as c is to what?": Google's questions-words.txt and MSR's set as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from shoal.workers.evaluation.errors import EvaluationError
from shoal.workers.evaluation.text_lines import csv_fields, read_lines

_CSV_COLUMNS = ("word1", "word2", "word3", "target")


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


def read_questions(path: Path) -> list[QuestionSection]:
    """The sections of a file, in order.

    Google's format has lines of four words, and ": NAME" before each section (Mikolov et al. 2013, "Efficient Estimation of
    Word Representations in Vector Space"). A section is syntactic if its name begins with "gram". Without such lines the
    file is one section, named after the file. If the first line is a CSV header with word1, word2, word3, target and
    optionally type, the file is MSR's set (Mikolov, Yih and Zweig 2013, "Linguistic Regularities in Continuous Space Word
    Representations"): a section for each type, all of them syntactic. Raises EvaluationError, with file and line, and when
    there are no questions.
    """
    lines = read_lines(path)
    header = csv_fields(lines[0][1]) if lines else []
    if {*_CSV_COLUMNS} <= {*header}:
        sections = _csv_sections(path, lines[1:], header)
    else:
        sections = _google_sections(path, lines)
    if not any(section.questions for section in sections):
        raise EvaluationError(f"{path}: no questions in this file")
    return sections


def words_of(sections: Sequence[QuestionSection]) -> Iterator[str]:
    """The words of all questions, in order, with repetitions."""
    questions = chain.from_iterable(section.questions for section in sections)
    return chain.from_iterable((question.a, question.b, question.c, question.d) for question in questions)


def _google_sections(path: Path, lines: Sequence[tuple[int, str]]) -> list[QuestionSection]:
    gathered: list[tuple[str, list[Question]]] = []
    for line_number, line in lines:
        if line.startswith(":"):
            gathered.append((line[1:].strip(), []))
            continue
        words = line.split()
        if len(words) != 4:
            raise EvaluationError(f"{path}:{line_number}: {len(words)} words; expected 4, or ': ' and the name of a section")
        if not gathered:
            gathered.append((path.stem, []))
        gathered[-1][1].append(Question(*words))
    return [QuestionSection(name, name.startswith("gram"), tuple(questions)) for name, questions in gathered]


def _csv_sections(path: Path, lines: Sequence[tuple[int, str]], header: Sequence[str]) -> list[QuestionSection]:
    indexes = [header.index(column) for column in _CSV_COLUMNS]
    kind = header.index("type") if "type" in header else None
    gathered: dict[str, list[Question]] = {}
    for line_number, line in lines:
        fields = csv_fields(line)
        if len(fields) != len(header):
            raise EvaluationError(f"{path}:{line_number}: {len(fields)} columns, but the header has {len(header)}")
        words = [fields[index] for index in indexes]
        if not all(words):
            raise EvaluationError(f"{path}:{line_number}: a word is missing")
        gathered.setdefault(path.stem if kind is None else fields[kind], []).append(Question(*words))
    return [QuestionSection(name, True, tuple(questions)) for name, questions in gathered.items()]
