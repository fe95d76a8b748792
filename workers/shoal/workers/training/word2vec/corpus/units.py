"""Divides the files of a corpus into units. `text_blocks` reads them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from shoal.workers.encoding import WORD_RULE
from shoal.workers.runtime import error_line
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.tokenizers import tokenizer_of
from shoal.workers.training.word2vec.errors import TrainingError


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file of the corpus."""

    path: str
    """An absolute path, or a URI."""
    size: int
    """In bytes."""
    modified_ns: int
    pieces: tuple[int, ...] | None = None
    """None for a local file of lines in UTF-8, which is read from any byte on. Otherwise the file needs a `UnitReader`, and
    these are the bytes of each piece that it can read alone."""


@dataclass(frozen=True, slots=True)
class CorpusUnit:
    """A part of the corpus that is read on its own, and again if necessary."""

    index: int
    """Its index in the corpus, from 0."""
    file: CorpusFile
    begin: int
    """The byte at which, or soon after which, the unit begins; its first piece if the file has pieces."""
    end: int
    """Where the next unit begins, in the same terms."""

    @property
    def path(self) -> str:
        """The path of its file."""
        return self.file.path

    @property
    def name(self) -> str:
        """The stem of the names of its files."""
        return f"unit-{self.index:06d}"


def utf8_file(path: str | os.PathLike[str]) -> CorpusFile:
    """A local file of lines in UTF-8. Raises TrainingError when there is none."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise TrainingError(f"{os.fspath(path)}: cannot be read: {error_line(error)}") from error
    return CorpusFile(os.path.abspath(path), found.st_size, found.st_mtime_ns)


def plan_units(files: Sequence[CorpusFile], corpus_settings: CorpusSettings) -> list[CorpusUnit]:
    """The units of files, in order. Raises TrainingError when there are none because the files are empty, or when the
    tokenizer cannot be imported."""
    # Imported now, so that an error is not found only after hours of reading.
    tokenizer_of(corpus_settings.tokenizer)
    units: list[CorpusUnit] = []
    for file in files:
        for begin, end in pairwise(_bounds(file, corpus_settings.unit_bytes)):
            units.append(CorpusUnit(len(units), file, begin, end))
    if not units:
        raise TrainingError(f"the corpus is empty: {', '.join(file.path for file in files) or 'no files given'}")
    return units


def corpus_digest(units: Sequence[CorpusUnit], corpus_settings: CorpusSettings, vocabulary: Mapping[str, Any]) -> str:
    """Hex blake2b-128 of everything that decides an encoded corpus: the state of the files, what a word is, the settings
    for reading them, and those of the vocabulary (JSON values)."""
    files = [
        [unit.path, unit.file.pieces is None, unit.begin, unit.end, unit.file.size, unit.file.modified_ns] for unit in units
    ]
    text = json.dumps(
        {"files": files, "words": WORD_RULE, "reading": corpus_settings.to_json(), "vocabulary": dict(vocabulary)},
        sort_keys=True,
    )
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _bounds(file: CorpusFile, unit_bytes: int) -> list[int]:
    """Where units begin, and the end of the last one. A piece is not divided."""
    if not file.size:
        return []
    if file.pieces is None:
        return [*range(0, file.size, unit_bytes), file.size]
    bounds, held = [0], 0
    for index, size in enumerate(file.pieces):
        if held and held + size > unit_bytes:
            bounds.append(index)
            held = 0
        held += size
    return [*bounds, len(file.pieces)]
