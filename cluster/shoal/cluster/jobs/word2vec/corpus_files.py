"""The files of a corpus, found and read as all commands find and read files. Plain text is read by the training itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from shoal.records import (
    BadRecord,
    BadRow,
    Damaged,
    InputError,
    InputFile,
    TextFields,
    damage_reason,
    find_inputs,
    first_row_fault,
    has_rows,
    is_plain,
    is_utf8,
    open_input,
    parquet_group_bytes,
    read_rows,
    suffix_of,
    text_chunks,
)
from shoal.workers.runtime import error_line
from shoal.workers.training.word2vec import CorpusFile, CorpusSettings, CorpusUnit, TrainingError, UnreadRow

_HEAD_BYTES = 4
_CUT_WORD_BYTES = 1 << 16
"""Longest word that is left out where damage cut it."""


@dataclass(frozen=True, slots=True)
class FoundCorpus:
    """The files of a corpus, and what is to be said of them; may be empty."""

    files: list[CorpusFile]
    note: str


def find_corpus(inputs: Sequence[str], text_fields: tuple[str, ...], hidden: bool) -> FoundCorpus:
    """The files of all inputs (files, folders, patterns and URIs) in order. Raises TrainingError that names the input."""
    try:
        found = find_inputs(inputs, hidden, plain_text=True)
        for files in found:
            # Finds a mistyped field before anything starts. Only the first file with rows of each input is checked.
            first = next((file for file in files if has_rows(file.name)), None)
            if first is not None and (fault := first_row_fault(first, TextFields(text_fields))):
                raise TrainingError(f"{first.path}: {fault}")
        return FoundCorpus([_corpus_file(file) for files in found for file in files], found.note)
    except InputError as error:
        raise TrainingError(str(error)) from error


def read_corpus_unit(unit: CorpusUnit, corpus_settings: CorpusSettings) -> Iterator[bytes | UnreadRow]:
    """A `UnitReader`: the texts of rows, each as one or more lines, or text that is compressed, recoded or at a URI."""
    with _training_errors(unit.path), open_input(unit.path, suffix_of(unit.path) == ".parquet") as opened:
        if not has_rows(unit.path):
            yield from _text(unit.path, text_chunks(opened, unit.path))
            return
        fields = TextFields(corpus_settings.text_fields)
        for row in read_rows(opened, unit.path, fields.columns(), range(unit.begin, unit.end)):
            if isinstance(row, BadRow):
                # What is wrong with a whole file is said in its first unit.
                if not (row.whole_file and unit.begin):
                    yield UnreadRow(unit.path, row.line, row.reason)
                continue
            try:
                text = fields.text(row.values)
            except BadRecord as error:
                yield UnreadRow(unit.path, row.line, error.reason)
                continue
            if text and not text.isspace():
                yield text.encode() + b"\n"
            elif fault := fields.missing(row.values):
                yield UnreadRow(unit.path, row.line, fault)


def _corpus_file(file: InputFile) -> CorpusFile:
    return CorpusFile(file.path, file.bytes, file.modified_ns, _pieces(file))


def _pieces(file: InputFile) -> tuple[int, ...] | None:
    with _training_errors(file.path):
        if suffix_of(file.name) == ".parquet":
            with open_input(file.path, seekable=True) as opened:
                return parquet_group_bytes(opened) or (file.bytes,)
        if "://" not in file.path and is_plain(file.name):
            with open_input(file.path, seekable=False) as opened:
                if is_utf8(opened.read(_HEAD_BYTES)):
                    return None
        return (file.bytes,)


@contextmanager
def _training_errors(path: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise TrainingError(str(error)) from error
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"{path}: cannot be read: {error_line(error)}") from error


def _text(path: str, chunks: Iterator[bytes]) -> Iterator[bytes | UnreadRow]:
    """Text, without the word that damage cuts, and the damage."""
    lines, held = 0, b""
    try:
        for chunk in chunks:
            lines += chunk.count(b"\n")
            held += chunk
            cut = max(held.rfind(space) for space in (b" ", b"\n")) + 1
            if not cut and len(held) > _CUT_WORD_BYTES:
                cut = len(held)
            yield held[:cut]
            held = held[cut:]
    except Damaged as error:
        if error.complete:
            yield held
        yield UnreadRow(path, lines + 1, damage_reason(error))
    else:
        yield held
