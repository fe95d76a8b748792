"""Finds and reads the small files of `shoal eval` and `shoal similar`: lines, and tables with or without a header."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shoal.records import (
    BadRow,
    InputError,
    InputFile,
    RejectedRow,
    Row,
    as_given,
    find_inputs,
    is_unicode,
    read_lines,
    suffix_of,
)
from shoal.workers.evaluation import EvaluationError

_COMPRESSIONS = (".gz", ".xz")
_OTHER_SUFFIXES = (".jsonl", ".ndjson", ".parquet")

Rejected = Callable[[RejectedRow], None]
"""Takes a row that cannot be used."""


def refuse(row: RejectedRow) -> None:
    """Raises EvaluationError for a row that cannot be used."""
    raise EvaluationError(row.message)


@contextmanager
def evaluation_errors() -> Iterator[None]:
    """Raises an error of the input as EvaluationError."""
    try:
        yield
    except InputError as error:
        raise EvaluationError(str(error)) from error


@dataclass(frozen=True, slots=True)
class WordFile:
    """A file with words. Reading it raises EvaluationError when it cannot be opened or its storage fails."""

    file: InputFile
    shown: str
    """Its path as the user named it."""

    @property
    def name(self) -> str:
        """Its name without folders."""
        return Path(self.file.path).name

    @property
    def suffix(self) -> str:
        """The suffix that says what is in it; "" for an unknown one."""
        return suffix_of(self.file.name)

    @property
    def stem(self) -> str:
        """Its name without folders and suffix."""
        path = Path(self.file.path)
        return Path(path.stem).stem if path.suffix.lower() in _COMPRESSIONS else path.stem

    def lines(self, rejected: Rejected) -> Iterator[tuple[int, str]]:
        """The lines that are not blank, stripped, with their numbers."""
        with evaluation_errors():
            for row in read_lines(self.file):
                if isinstance(row, Row):
                    yield row.line, row.values["text"]
                else:
                    rejected(self.bad(row))

    def bad(self, row: BadRow) -> RejectedRow:
        """A bad row, as it is reported."""
        return RejectedRow(self.file.path, row.line, row.reason, shown=self.shown)


def find_word_files(inputs: Sequence[str], hidden: bool = False) -> tuple[list[WordFile], str]:
    """The files of paths, patterns and URIs, and a note about hidden ones, which may be empty. Raises EvaluationError."""
    for given in inputs:
        if given and Path(given).is_dir():
            raise EvaluationError(f"{given}: is a folder: name its files, such as '{given.rstrip('/')}/*.tsv'")
    with evaluation_errors():
        found = find_inputs(inputs, hidden, plain_text=True)
    files = [WordFile(file, as_given(given, file.path)) for given, some in zip(inputs, found, strict=True) for file in some]
    for file in files:
        if file.suffix in _OTHER_SUFFIXES:
            raise EvaluationError(f"{file.shown}: not a text, CSV or TSV file")
    return files, found.note


def find_word_file(given: str) -> WordFile:
    """The only file of a path, pattern or URI. Raises EvaluationError."""
    files, _ = find_word_files([given], hidden=True)
    if len(files) > 1:
        raise EvaluationError(f"{given}: {len(files)} files match: name one of them")
    return files[0]


def word_fault(words: Sequence[str]) -> str:
    """What is wrong with the words of a row; empty if nothing."""
    if not all(words):
        return "a word is missing"
    return "" if all(map(is_unicode, words)) else "a word is not valid Unicode"


def read_words(path: str | Path, rejected: Rejected = refuse) -> list[str]:
    """The distinct words of a file with a word per line. Raises EvaluationError, also when there are none."""
    file = find_word_file(str(path))
    words = list(dict.fromkeys(line for _, line in file.lines(rejected)))
    if not words:
        raise EvaluationError(f"{file.shown}: no words in this file")
    return words
