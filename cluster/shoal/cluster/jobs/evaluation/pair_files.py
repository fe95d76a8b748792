"""Reads pairs of words with human scores of their similarity, in the forms in which such sets are published."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from shoal.cluster.jobs.evaluation.word_files import (
    Rejected,
    WordFile,
    evaluation_errors,
    find_word_file,
    refuse,
    word_fault,
)
from shoal.records import BadRow, BareRow, header_fault, read_bare_table, read_lines
from shoal.workers.evaluation import EvaluationError, WordPair

_COLUMNS = ("word1", "word2", "score")
_COMMENT = "#"


def read_pairs(path: str | Path, rejected: Rejected = refuse) -> list[WordPair]:
    """The pairs of a file with word1, word2 and score; see `pairs_of`."""
    return pairs_of(find_word_file(str(path)), rejected)


def pairs_of(file: WordFile, rejected: Rejected) -> list[WordPair]:
    """The pairs of a file with word1, word2 and score, separated by tabs, commas (CSV) or white space: whichever its first
    line has. Lines that begin with "#" are skipped.

    A first line whose third column is not a number is a header; if it has word1, word2 and score, these columns are used,
    otherwise the first three. Raises EvaluationError when the file cannot be read, its header has one of these columns
    twice, or there are no pairs.
    """
    pairs: list[WordPair] = []
    columns: tuple[int, ...] = ()
    for row in _rows(file):
        if isinstance(row, BadRow):
            rejected(file.bad(row))
            continue
        fields = [field.strip() for field in row.fields]
        if not columns:
            columns = (0, 1, 2)
            if len(fields) < 3 or _finite(fields[2]) is None:
                columns = _columns(file, fields)
                continue
        found = _pair(fields, columns)
        if isinstance(found, WordPair):
            pairs.append(found)
        else:
            rejected(file.bad(BadRow(row.line, found)))
    if not pairs:
        raise EvaluationError(f"{file.shown}: no pairs in this file; expected lines with word1, word2 and score")
    return pairs


def _rows(file: WordFile) -> Iterator[BareRow | BadRow]:
    lines = (line for _, line in file.lines(lambda row: None))
    first = next((line for line in lines if not line.startswith(_COMMENT)), "")
    # Of a file that is called CSV a comma is expected, although its words may have tabs.
    known = (",", "\t") if file.suffix == ".csv" else ("\t", ",")
    delimiter = next((one for one in known if one in first), None)
    with evaluation_errors():
        if delimiter is not None:
            yield from read_bare_table(file.file, delimiter, _COMMENT)
            return
        for row in read_lines(file.file):
            if isinstance(row, BadRow):
                yield row
            elif not row.values["text"].startswith(_COMMENT):
                yield BareRow(row.line, row.values["text"].split())


def _columns(file: WordFile, header: Sequence[str]) -> tuple[int, ...]:
    names = [name.lower() for name in header]
    if not {*_COLUMNS} <= {*names}:
        return (0, 1, 2)
    if fault := header_fault(names, _COLUMNS):
        raise EvaluationError(f"{file.shown}: {fault}")
    return tuple(names.index(name) for name in _COLUMNS)


def _pair(fields: Sequence[str], columns: Sequence[int]) -> WordPair | str:
    """A pair, or what is wrong with it."""
    if len(fields) <= max(columns):
        return f"wrong number of fields: {len(fields)}, expected word1, word2 and score"
    first, second, text = (fields[column] for column in columns)
    if fault := word_fault((first, second)):
        return fault
    score = _finite(text)
    return f"the score is not a number: {text!r:.40}" if score is None else WordPair(first, second, score)


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
