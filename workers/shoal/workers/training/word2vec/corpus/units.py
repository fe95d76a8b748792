"""Finds the files of a corpus and divides them into units. `text_blocks` reads them."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shoal.workers.runtime import error_line
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.tokenizers import tokenizer_of
from shoal.workers.training.word2vec.errors import TrainingError

TEXT_FIELDS = ("text", "content", "body")
_COMPRESSED = {".gz": "gzip", ".xz": "xz"}
_NOT_TEXT = frozenset(
    (".zip", ".bz2", ".zst", ".lz4", ".7z", ".tar", ".tgz")
    + (".bin", ".npy", ".npz", ".arrow", ".feather", ".safetensors", ".pt", ".pkl")
    + (".json", ".jsonl", ".csv", ".tsv", ".html", ".htm", ".xml", ".pdf", ".doc", ".docx")
)
"""Suffixes of files that are not plain text; reading them would train on markup or binary data."""
_IGNORED = ("_", ".")
"""Files and folders inside a folder whose names begin with one of these are ignored (_SUCCESS, .git)."""


class FileKind(StrEnum):
    """The format of a file."""

    PLAIN = "plain"
    GZIP = "gzip"
    XZ = "xz"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class CorpusUnit:
    """A part of the corpus that is read on its own, and again if necessary."""

    index: int
    """Its index in the corpus, from 0."""
    path: str
    kind: FileKind
    begin: int
    """Plain text: the byte at which, or soon after which, the unit begins. Parquet: its first row group. Otherwise 0."""
    end: int
    """Where the next unit begins, in the same terms. For gzip and xz the size of the file."""
    size: int
    """Size of the file in bytes."""
    modified_ns: int

    @property
    def name(self) -> str:
        """The stem of the names of its files."""
        return f"unit-{self.index:06d}"


def plan_units(paths: Sequence[str], corpus_settings: CorpusSettings) -> list[CorpusUnit]:
    """The units of local files, folders and patterns (`*`, `?`, `[a-z]`, `**` for any folders), in the given order; those of
    a folder or pattern are sorted by path.

    In a folder, files with suffix .txt, .text or .parquet and without suffix are used, also with an additional .gz or .xz.
    Raises TrainingError when a path is missing, unreadable, given twice or not text, when the corpus is empty, or when the
    tokenizer cannot be imported.
    """
    # Imported now, so that an error is not found only after hours of reading.
    tokenizer_of(corpus_settings.tokenizer)
    units: list[CorpusUnit] = []
    seen: set[str] = set()
    for path in (file for given in paths for file in _files(given)):
        if path in seen:
            raise TrainingError(f"{path}: given twice")
        seen.add(path)
        kind = _kind(path)
        if kind is None:
            raise TrainingError(f"{path}: not a text file (.gz and .xz are fine), nor Parquet")
        units.extend(_parts(path, kind, corpus_settings, len(units)))
    if not units:
        raise TrainingError(f"the corpus is empty: {', '.join(paths) or 'no files given'}")
    return units


def corpus_digest(units: Sequence[CorpusUnit], corpus_settings: CorpusSettings, vocabulary: Mapping[str, Any]) -> str:
    """Hex blake2b-128 of everything that decides an encoded corpus: the state of the files, the settings for reading them,
    and those of the vocabulary (JSON values)."""
    files = [[unit.path, unit.kind, unit.begin, unit.end, unit.size, unit.modified_ns] for unit in units]
    text = json.dumps({"files": files, "reading": corpus_settings.to_json(), "vocabulary": dict(vocabulary)}, sort_keys=True)
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def text_column(path: str, schema: pa.Schema, field: str) -> str:
    """The text column of a Parquet file: `field`, or if empty a usual one. Raises TrainingError when there is none."""
    column = field or next((name for name in TEXT_FIELDS if name in schema.names), "")
    if column not in schema.names:
        wanted = repr(field) if field else ", ".join(TEXT_FIELDS)
        raise TrainingError(f"{path}: no column {wanted}; the columns are {', '.join(schema.names)}")
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise TrainingError(f"{path}: column {column!r} has type {kind}, not text")
    return column


def _files(given: str) -> list[str]:
    path = os.path.abspath(given)
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        found = sorted(file for file in _below(path) if _is_text(file))
        if not found:
            raise TrainingError(f"{given}: no text or Parquet files in this folder")
        return found
    if os.path.exists(path):
        raise TrainingError(f"{given}: neither a file nor a folder")
    if not glob.has_magic(path):
        raise TrainingError(f"{given}: no such file or folder")
    found = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
    if not found:
        raise TrainingError(f"{given}: no file matches")
    return found


def _below(folder: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise TrainingError(f"{error.filename}: cannot be read: {error_line(error)}") from error

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(_IGNORED)]
        yield from (os.path.join(here, name) for name in files if not name.startswith(_IGNORED))


def _kind(path: str) -> FileKind | None:
    stem, suffix = os.path.splitext(path.lower())
    if suffix == ".parquet":
        return FileKind.PARQUET
    inner = os.path.splitext(stem)[1] if suffix in _COMPRESSED else suffix
    if inner in _NOT_TEXT or (suffix in _COMPRESSED and inner == ".parquet"):
        return None
    return FileKind(_COMPRESSED[suffix]) if suffix in _COMPRESSED else FileKind.PLAIN


def _is_text(path: str) -> bool:
    """Whether a file in a folder is used, although it was not given by name."""
    stem, suffix = os.path.splitext(path.lower())
    inner = os.path.splitext(stem)[1] if suffix in _COMPRESSED else suffix
    return suffix == ".parquet" or inner in ("", ".txt", ".text")


def _parts(path: str, kind: FileKind, corpus_settings: CorpusSettings, first_index: int) -> list[CorpusUnit]:
    try:
        found = os.stat(path)
        if not found.st_size:
            return []
        if kind is FileKind.PARQUET:
            bounds = _row_groups(path, corpus_settings)
        elif kind is FileKind.PLAIN:
            bounds = [*range(0, found.st_size, corpus_settings.unit_bytes), found.st_size]
        else:
            bounds = [0, found.st_size]
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"{path}: cannot be read: {error_line(error)}") from error
    return [
        CorpusUnit(first_index + offset, path, kind, begin, end, found.st_size, found.st_mtime_ns)
        for offset, (begin, end) in enumerate(pairwise(bounds))
    ]


def _row_groups(path: str, corpus_settings: CorpusSettings) -> list[int]:
    """The first row group of each unit, and the number of row groups. A row group is not divided."""
    metadata = pq.read_metadata(path)
    text_column(path, metadata.schema.to_arrow_schema(), corpus_settings.text_field)
    if not metadata.num_rows:
        return []
    bounds, held = [0], 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).total_byte_size
        if held and held + size > corpus_settings.unit_bytes:
            bounds.append(group)
            held = 0
        held += size
    return [*bounds, metadata.num_row_groups]
