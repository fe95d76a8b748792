"""The supported file formats, by the suffix of a file's name in any case."""

from __future__ import annotations

from pathlib import PurePosixPath

JSON_SUFFIXES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv")
PARQUET_SUFFIX = ".parquet"
TEXT_SUFFIXES = (".txt", ".md", ".rst")
SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES, PARQUET_SUFFIX, *TEXT_SUFFIXES)
COMPRESSIONS = (".gz", ".xz")


def suffix_of(name: str) -> str:
    """The suffix that gives the format of a file, without .gz and .xz; "" for an unsupported format."""
    bare = name[: -len(compression)] if (compression := compression_of(name)) else name
    suffix = PurePosixPath(bare).suffix.lower()
    return suffix if suffix in SUFFIXES and not (suffix == PARQUET_SUFFIX and compression) else ""


def compression_of(name: str) -> str:
    """ ".gz", ".xz", or "" for a file that is not compressed."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in COMPRESSIONS else ""
