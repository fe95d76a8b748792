"""Reads questions of the form "a is to b as c is to what?": Google's questions-words.txt and MSR's set as CSV."""

from __future__ import annotations

from pathlib import Path

from shoal.cluster.jobs.evaluation.word_files import (
    Rejected,
    WordFile,
    evaluation_errors,
    find_word_file,
    refuse,
    word_fault,
)
from shoal.records import BadRow, read_table
from shoal.workers.evaluation import EvaluationError, Question, QuestionSection

_COLUMNS = ("word1", "word2", "word3", "target")
_KIND = "type"


def read_questions(path: str | Path, rejected: Rejected = refuse) -> list[QuestionSection]:
    """The sections of a file, in order.

    Google's format has lines of four words, and ": NAME" before each section (Mikolov et al. 2013, "Efficient Estimation of
    Word Representations in Vector Space"). A section is syntactic if its name begins with "gram". Without such lines the
    file is one section, named after the file. If the first line is a CSV header with word1, word2, word3, target and
    optionally type, the file is MSR's set (Mikolov, Yih and Zweig 2013, "Linguistic Regularities in Continuous Space Word
    Representations"): a section for each type, all of them syntactic. Raises EvaluationError when the file cannot be read,
    its header has a column twice, or there are no questions.
    """
    file = find_word_file(str(path))
    first = next((line for _, line in file.lines(lambda row: None)), "")
    is_table = {*_COLUMNS} <= {name.strip('"') for name in first.split(",")}
    sections = _table_sections(file, rejected) if is_table else _google_sections(file, rejected)
    if not any(section.questions for section in sections):
        raise EvaluationError(f"{file.shown}: no questions in this file")
    return sections


def _google_sections(file: WordFile, rejected: Rejected) -> list[QuestionSection]:
    gathered: list[tuple[str, list[Question]]] = []
    for number, line in file.lines(rejected):
        if line.startswith(":"):
            gathered.append((line[1:].strip(), []))
            continue
        words = line.split()
        if len(words) != 4:
            reason = f"wrong number of words: {len(words)}, expected 4, or ': ' and the name of a section"
            rejected(file.bad(BadRow(number, reason)))
            continue
        if not gathered:
            gathered.append((file.stem, []))
        gathered[-1][1].append(Question(*words))
    return [QuestionSection(name, name.startswith("gram"), tuple(questions)) for name, questions in gathered]


def _table_sections(file: WordFile, rejected: Rejected) -> list[QuestionSection]:
    gathered: dict[str, list[Question]] = {}
    with evaluation_errors():
        for row in read_table(file.file, ",", {*_COLUMNS, _KIND}):
            if isinstance(row, BadRow):
                if row.whole_file:
                    raise EvaluationError(f"{file.shown}: {row.reason}")
                rejected(file.bad(row))
                continue
            words = [row.values[column].strip() for column in _COLUMNS]
            if fault := word_fault(words):
                rejected(file.bad(BadRow(row.line, fault)))
            else:
                gathered.setdefault(row.values.get(_KIND, file.stem), []).append(Question(*words))
    return [QuestionSection(name, True, tuple(questions)) for name, questions in gathered.items()]
