"""Finds the files that a job reads: paths and URIs, files, folders and patterns. What is in a file is `rows`' business."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import fs

from shoal.cluster.jobs.encode.errors import JobError, one_line
from shoal.cluster.jobs.encode.rows import SUFFIXES, suffix_of

_PATTERN = re.compile(r"[*?\[]")
_IGNORED = ("_", ".")
"""Files and folders below a folder that begin so are nobody's data (_SUCCESS, .git)."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read, and what shows that it is still the same."""

    path: str
    """An absolute path or a URI."""
    name: str
    """The path from the folder or pattern on that it was found by; the id of a text file."""
    bytes: int
    modified_ns: int


def find_inputs(inputs: Sequence[str]) -> list[list[InputFile]]:
    """The files of each of `inputs`, never none, those of a folder or pattern in order of path.

    Raises JobError, naming the input.
    """
    seen: set[str] = set()
    found: list[list[InputFile]] = []
    for given in inputs:
        try:
            files = list(_find(given))
        except (OSError, pa.ArrowException) as error:
            raise JobError(f"{given}: {one_line(error)}") from error
        for file in files:
            if file.path in seen:
                raise JobError(f"{file.path}: given twice")
            seen.add(file.path)
        found.append(files)
    return found


def open_input(path: str, seekable: bool) -> pa.NativeFile:
    """Opens a file as it is, compressed or not; raises OSError."""
    system, place = _system_of(path)
    return system.open_input_file(place) if seekable else system.open_input_stream(place, compression=None)


class CountedStream:
    """A stream that knows how many bytes were read of it."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self.read_bytes = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        data = self._stream.read(size)
        self.read_bytes += len(data)
        return data


def matches(pattern: str, path: str) -> bool:
    """Whether a path fits a pattern: ? and * stay within a folder, ** crosses folders."""
    parts = re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    translated = (known.get(part, part.replace("[!", "[^") if part.startswith("[") else re.escape(part)) for part in parts)
    return re.fullmatch("".join(translated), path) is not None


def _find(given: str) -> Iterable[InputFile]:
    system, place = _system_of(given)
    info = system.get_file_info(place)
    prefix = given[: given.rindex(place)] if "://" in given and place in given else ""
    if info.type == fs.FileType.File:
        if not suffix_of(place):
            raise JobError(
                f"{given}: not a {', '.join(SUFFIXES)} file (.gz and .xz are fine, but for Parquet), nor a folder of them"
            )
        return [_input(info, place.rpartition("/")[2], prefix)]
    if info.type == fs.FileType.Directory:
        files = _below(system, place.rstrip("/"), prefix)
        if not files:
            raise JobError(f"{given}: no {', '.join(SUFFIXES)} files in this folder")
        return files
    if not (first := _PATTERN.search(place)):
        raise JobError(f"{given}: no such file or folder")
    base = place[: first.start()].rpartition("/")[0]
    chosen = [file for file in _below(system, base, prefix) if matches(place[len(base) + 1 :], file.name)]
    if not chosen:
        raise JobError(f"{given}: no {', '.join(SUFFIXES)} file matches")
    return chosen


def _below(system: fs.FileSystem, base: str, prefix: str) -> list[InputFile]:
    selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
    files = []
    for info in system.get_file_info(selector):
        name = info.path[len(base) + 1 :]
        hidden = any(part.startswith(_IGNORED) for part in name.split("/"))
        if info.type == fs.FileType.File and suffix_of(name) and not hidden:
            files.append(_input(info, name, prefix))
    return sorted(files, key=lambda file: file.path)


def _input(info: fs.FileInfo, name: str, prefix: str) -> InputFile:
    return InputFile(prefix + info.path, name, info.size or 0, info.mtime_ns or 0)


def _system_of(path: str) -> tuple[fs.FileSystem, str]:
    if "://" in path:
        return fs.FileSystem.from_uri(path)
    return fs.LocalFileSystem(), os.path.abspath(path)
