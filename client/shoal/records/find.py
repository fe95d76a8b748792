"""Finds and opens input files: paths and URIs of files, folders and patterns. `rows` reads what is in them.

Local files need no pyarrow; URIs, and files that must be seekable, do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from shoal.records.errors import InputError, needs_pyarrow, one_line, storage_errors
from shoal.records.formats import SUFFIXES, suffix_of

_PATTERN = re.compile(r"[*?\[]")
_HIDDEN = ("_", ".")
"""Files and folders inside a folder whose names begin with one of these are left out (_SUCCESS, .git)."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read. Size and time of change show whether it is still the same."""

    path: str
    """An absolute path or a URI."""
    name: str
    """The path relative to the folder or pattern that it was found by; the id of a text file."""
    bytes: int
    modified_ns: int


def find_inputs(inputs: Sequence[str]) -> list[list[InputFile]]:
    """The files of each input: at least one, and those of a folder or pattern sorted by path.

    Raises InputError, naming the input.
    """
    seen: set[str] = set()
    found: list[list[InputFile]] = []
    for given in inputs:
        try:
            files = list((_find_uri if "://" in given else _find_local)(given))
        except storage_errors() as error:
            raise InputError(f"{given}: {one_line(error)}") from error
        for file in files:
            if file.path in seen:
                raise InputError(f"{file.path}: given twice")
            seen.add(file.path)
        found.append(files)
    return found


def open_input(path: str, seekable: bool) -> IO[bytes]:
    """Opens a file as it is, without decompressing it; raises `storage_errors()`, and InputError without pyarrow."""
    if "://" not in path and not seekable:
        return Path(path).open("rb")
    fs = _pyarrow_fs(path, "a URI" if "://" in path else "Parquet")
    system, inner = fs.FileSystem.from_uri(path) if "://" in path else (fs.LocalFileSystem(), os.path.abspath(path))
    opened = system.open_input_file(inner) if seekable else system.open_input_stream(inner, compression=None)
    return cast(IO[bytes], opened)


def matches(pattern: str, path: str) -> bool:
    """Whether a path fits a pattern: ? and * stay within a folder, ** crosses folders."""
    parts = re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    translated = (known.get(part, part.replace("[!", "[^") if part.startswith("[") else re.escape(part)) for part in parts)
    return re.fullmatch("".join(translated), path) is not None


def _find_local(given: str) -> list[InputFile]:
    path = os.path.abspath(given)
    if os.path.isfile(path):
        _check_format(given, path)
        return [_local_file(path, os.path.basename(path))]
    if os.path.isdir(path):
        return _all_in_folder(given, _below_local(path))
    return _all_matching(given, path, _below_local)


def _find_uri(given: str) -> list[InputFile]:
    fs = _pyarrow_fs(given, "a URI")
    system, path = fs.FileSystem.from_uri(given)
    prefix = given[: given.rindex(path)] if path in given else ""

    def below(base: str) -> list[InputFile]:
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        named = ((info, info.path[len(base) + 1 :]) for info in system.get_file_info(selector))
        return [_uri_file(info, name, prefix) for info, name in named if info.type == fs.FileType.File and _is_input(name)]

    info = system.get_file_info(path)
    if info.type == fs.FileType.File:
        _check_format(given, path)
        return [_uri_file(info, path.rpartition("/")[2], prefix)]
    if info.type == fs.FileType.Directory:
        return _all_in_folder(given, below(path.rstrip("/")))
    return _all_matching(given, path, below)


def _check_format(given: str, path: str) -> None:
    if not suffix_of(path):
        formats = f"{', '.join(SUFFIXES)} file (.gz and .xz are fine, except for Parquet)"
        raise InputError(f"{given}: not a {formats}, nor a folder of them")


def _all_in_folder(given: str, files: list[InputFile]) -> list[InputFile]:
    if not files:
        raise InputError(f"{given}: no {', '.join(SUFFIXES)} files in this folder")
    return sorted(files, key=lambda file: file.path)


def _all_matching(given: str, path: str, below: Callable[[str], list[InputFile]]) -> list[InputFile]:
    if not (first := _PATTERN.search(path)):
        raise InputError(f"{given}: no such file or folder")
    base = path[: first.start()].rpartition("/")[0]
    chosen = [file for file in below(base) if matches(path[len(base) + 1 :], file.name)]
    if not chosen:
        raise InputError(f"{given}: no {', '.join(SUFFIXES)} file matches")
    return sorted(chosen, key=lambda file: file.path)


def _below_local(base: str) -> list[InputFile]:
    found = (path for path in _walk(base) if _is_input(path[len(base) + 1 :]) and os.path.isfile(path))
    return [_local_file(path, path[len(base) + 1 :]) for path in found]


def _walk(base: str) -> Iterator[str]:
    """Every path of a file below a folder; links are followed, but not back into a folder that holds them."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for folder, folders, names in os.walk(base or "/", followlinks=True, onerror=fail):
        here = os.path.realpath(folder) + os.sep
        folders[:] = [
            name
            for name in folders
            if not name.startswith(_HIDDEN) and not here.startswith(os.path.realpath(os.path.join(folder, name)) + os.sep)
        ]
        yield from (os.path.join(folder, name) for name in names)


def _is_input(name: str) -> bool:
    return bool(suffix_of(name)) and not any(part.startswith(_HIDDEN) for part in name.split("/"))


def _local_file(path: str, name: str) -> InputFile:
    status = os.stat(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path!a}: the name is not valid Unicode") from None
    return InputFile(path, name, status.st_size, status.st_mtime_ns)


def _uri_file(info: Any, name: str, prefix: str) -> InputFile:
    return InputFile(prefix + info.path, name, info.size or 0, info.mtime_ns or 0)


def _pyarrow_fs(path: str, what: str) -> Any:
    try:
        from pyarrow import fs
    except ModuleNotFoundError as error:
        raise needs_pyarrow(path, what) from error
    return fs
