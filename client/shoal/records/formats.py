"""The supported file formats, by the suffix of a file's name in any case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

JSON_SUFFIXES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv")
PARQUET_SUFFIX = ".parquet"
TEXT_SUFFIXES = (".txt", ".md", ".rst")
SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES, PARQUET_SUFFIX, *TEXT_SUFFIXES)
COMPRESSIONS = (".gz", ".xz")
_PLAIN_TEXT = ("", ".text")
_OTHERS = frozenset(
    (".zip", ".bz2", ".zst", ".lz4", ".7z", ".tar", ".tgz", *COMPRESSIONS)
    + (".bin", ".npy", ".npz", ".arrow", ".feather", PARQUET_SUFFIX, ".safetensors", ".pt", ".pkl")
    + (".json", ".html", ".htm", ".xml", ".pdf", ".doc", ".docx")
)
"""Suffixes of files that are not plain text."""


def suffix_of(name: str) -> str:
    """The suffix that gives the format of a file, without .gz and .xz; "" for an unsupported format."""
    bare = name[: -len(compression)] if (compression := compression_of(name)) else name
    suffix = PurePosixPath(bare).suffix.lower()
    return suffix if suffix in SUFFIXES and not (suffix == PARQUET_SUFFIX and compression) else ""


def is_plain(name: str) -> bool:
    """Whether a file of this name is text that is not compressed."""
    return not has_rows(name) and not compression_of(name)


def has_rows(name: str) -> bool:
    """Whether a file of this name has rows with fields; others are text."""
    return suffix_of(name) in (*JSON_SUFFIXES, *TABLE_SUFFIXES, PARQUET_SUFFIX)


@dataclass(frozen=True, slots=True)
class Formats:
    """Which files a command reads."""

    plain_text: bool = False
    """Whether files of other names are plain text: in a folder those without a suffix and *.text, elsewhere all but those of
    other known formats."""

    def include(self, name: str, in_folder: bool) -> bool:
        """Whether a file is read that was found in a folder, or otherwise was named or matches a pattern."""
        if suffix_of(name):
            return True
        bare = name[: -len(compression)] if (compression := compression_of(name)) else name
        suffix = PurePosixPath(bare).suffix.lower()
        return self.plain_text and (suffix in _PLAIN_TEXT if in_folder else suffix not in _OTHERS)

    def __str__(self) -> str:
        return f"{', '.join(SUFFIXES)}{' or plain text' if self.plain_text else ''}"


def compression_of(name: str) -> str:
    """ ".gz", ".xz", or "" for a file that is not compressed."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in COMPRESSIONS else ""
