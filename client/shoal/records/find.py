"""Finds and opens input files, given by paths and URIs of files, folders and patterns.

Local files need no pyarrow; URIs, and files that must be seekable, do.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from shoal.records.errors import InputError, needs_pyarrow, one_line, shown_path, storage_errors
from shoal.records.formats import TEXT_SUFFIXES, Formats, suffix_of

STANDARD_INPUT = "-"
_PATTERN = re.compile(r"[*?\[]")
_HIDDEN = ("_", ".")
"""Files and folders whose names begin with one of these are hidden (_SUCCESS, .git)."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read. Size and modification time show whether it has changed."""

    path: str
    """An absolute path or a URI; "-" for standard input."""
    name: str
    """The path relative to the folder or pattern that it was found by, or, where several inputs have text files, to the
    folder that holds all of these: the id of a text file. It ends with the suffix that gives the format."""
    bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """The files that were found; iterates over the inputs."""

    files: list[list[InputFile]]
    """Of each input: at least one, and those of a folder or pattern sorted by path."""
    hidden: list[str]
    """Paths of hidden files that would have been read."""

    def __iter__(self) -> Iterator[list[InputFile]]:
        return iter(self.files)

    @property
    def note(self) -> str:
        """How many hidden files were left out, in words; empty if none."""
        return _left_out(self.hidden)


@dataclass(frozen=True, slots=True)
class _Found:
    """The files of one input. Their names are relative to `base`, a folder."""

    base: str
    files: list[InputFile]
    hidden: list[str]


def find_inputs(
    inputs: Sequence[str], hidden: bool = False, stdin_suffix: str = "", plain_text: bool = False
) -> FoundInputs:
    """The files of each input. Hidden ones, of a folder or a pattern that does not name them, are left out unless `hidden`.

    "-" is standard input, in the format of `stdin_suffix`; refused if that is empty. With `plain_text`, files of other names
    are found too (see `Formats`). Raises InputError, naming the input.
    """
    formats = Formats(plain_text)
    seen: set[str] = set()
    found: list[_Found] = []
    for given in inputs:
        try:
            if given == STANDARD_INPUT:
                one = _standard_input(stdin_suffix)
            else:
                one = (_find_uri if "://" in given else _find_local)(given, hidden, formats)
        except storage_errors() as error:
            raise InputError(f"{shown_path(given)}: {one_line(error)}") from error
        for file in one.files:
            if file.path in seen:
                raise InputError(f"{file.path}: given twice")
            seen.add(file.path)
        found.append(one)
    return FoundInputs([one.files for one in _told_apart(found)], [path for one in found for path in one.hidden])


def as_given(given: str, path: str) -> str:
    """The path of a file that was found by `given`, relative if that is."""
    return path if "://" in given or given == STANDARD_INPUT or os.path.isabs(given) else os.path.relpath(path)


def open_input(path: str, seekable: bool) -> IO[bytes]:
    """Opens a file as it is, without decompressing it; raises `storage_errors()`, and InputError without pyarrow."""
    if path == STANDARD_INPUT:
        return sys.stdin.buffer
    if "://" not in path and not seekable:
        return Path(path).open("rb")
    fs = _pyarrow_fs(path, "a URI" if "://" in path else "Parquet")
    system, inner = fs.FileSystem.from_uri(path) if "://" in path else (fs.LocalFileSystem(), os.path.abspath(path))
    opened = system.open_input_file(inner) if seekable else system.open_input_stream(inner, compression=None)
    return cast(IO[bytes], opened)


def matches(pattern: str, path: str) -> bool:
    """Whether a path matches a pattern: ? and * match within a folder, ** across folders."""
    parts = re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    translated = (
        known.get(part, part.replace("[!", "[^") if len(part) > 1 and part[0] == "[" else re.escape(part)) for part in parts
    )
    try:
        return re.fullmatch("".join(translated), path) is not None
    except re.error:  # Such as [z-a], which no character is in.
        return False


def _told_apart(found: list[_Found]) -> list[_Found]:
    """Several inputs with text files, whose names are their ids: all are named from the folder that holds them."""
    texts = [one for one in found if any(suffix_of(file.name) in TEXT_SUFFIXES for file in one.files)]
    if len(texts) < 2:
        return found
    shared = 0
    parts = [one.base.split("/") for one in texts]
    while all(len(part) > shared and part[shared] == parts[0][shared] for part in parts):
        shared += 1

    def renamed(one: _Found) -> _Found:
        above = "/".join(one.base.split("/")[shared:])
        return replace(one, files=[replace(file, name=f"{above}/{file.name}") for file in one.files]) if above else one

    return [renamed(one) if one in texts else one for one in found]


def _standard_input(suffix: str) -> _Found:
    if not suffix:
        raise InputError("-: standard input is not read here: write it to a file first")
    return _Found("", [InputFile(STANDARD_INPUT, f"-{suffix}", 0, 0)], [])


_Below = Callable[[str, bool], dict[str, Callable[[], InputFile]]]
"""The files to read below a folder, by their names relative to it. The flag says whether it was given, not a pattern."""


def _find_local(given: str, hidden: bool, formats: Formats) -> _Found:
    if not given:  # Otherwise it would be the current folder.
        raise InputError(f"{shown_path(given)}: no such file or folder")
    path = os.path.abspath(given)
    if os.path.isfile(path):
        _check_format(given, path, formats)
        base, _, name = path.rpartition("/")
        return _Found(base, [_local_file(path, name)], [])

    def below(base: str, in_folder: bool) -> dict[str, Callable[[], InputFile]]:
        found = (path for path in _walk(base) if formats.include(path, in_folder) and os.path.isfile(path))
        return {path[len(base) + 1 :]: partial(_local_file, path, path[len(base) + 1 :]) for path in found}

    if os.path.isdir(path):
        return _all_in_folder(given, path, below, hidden, formats)
    if os.path.exists(path):
        raise InputError(f"{shown_path(given)}: neither a file nor a folder")
    return _all_matching(given, path, below, hidden, formats)


def _find_uri(given: str, hidden: bool, formats: Formats) -> _Found:
    fs = _pyarrow_fs(given, "a URI")
    system, path = fs.FileSystem.from_uri(given)
    prefix = given[: given.rindex(path)] if path in given else ""

    def below(base: str, in_folder: bool) -> dict[str, Callable[[], InputFile]]:
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        named = {info.path[len(base) + 1 :]: info for info in system.get_file_info(selector)}
        return {
            name: partial(_uri_file, info, name, prefix)
            for name, info in named.items()
            if info.type == fs.FileType.File and formats.include(name, in_folder)
        }

    info = system.get_file_info(path)
    if info.type == fs.FileType.File:
        _check_format(given, path, formats)
        base, _, name = path.rpartition("/")
        found = _Found(base, [_uri_file(info, name, prefix)], [])
    elif info.type == fs.FileType.Directory:
        found = _all_in_folder(given, path.rstrip("/"), below, hidden, formats)
    else:
        found = _all_matching(given, path, below, hidden, formats)
    return _Found(prefix + found.base, found.files, [prefix + path for path in found.hidden])


def _check_format(given: str, path: str, formats: Formats) -> None:
    if not formats.include(path, in_folder=False):
        packed = "(.gz and .xz are fine, except for Parquet)"
        raise InputError(f"{shown_path(given)}: not a {formats} file {packed}, nor a folder of them")


def _all_in_folder(given: str, base: str, below: _Below, hidden: bool, formats: Formats) -> _Found:
    found = _found(base, below(base, True), lambda name: hidden or not any(map(_is_hidden, name.split("/"))))
    if not found.files:
        where = f"{shown_path(given)}: no {formats} files in this folder"
        raise InputError("; ".join(filter(None, (where, _left_out(found.hidden)))))
    return found


def _all_matching(given: str, path: str, below: _Below, hidden: bool, formats: Formats) -> _Found:
    if not (first := _PATTERN.search(path)):
        raise InputError(f"{shown_path(given)}: no such file or folder")
    base = path[: first.start()].rpartition("/")[0]
    pattern = path[len(base) + 1 :]
    # As in a shell, a pattern that begins with the character of hidden names matches hidden names.
    named = [part for part in pattern.split("/") if _is_hidden(part)]

    def is_shown(name: str) -> bool:
        concealed = filter(_is_hidden, name.split("/"))
        return hidden or all(any(part[0] == one[0] and matches(part, one) for part in named) for one in concealed)

    found = _found(base, {name: file for name, file in below(base, False).items() if matches(pattern, name)}, is_shown)
    if not found.files:
        where = f"{shown_path(given)}: no {formats} file matches"
        raise InputError("; ".join(filter(None, (where, _left_out(found.hidden)))))
    return found


def _found(base: str, files: dict[str, Callable[[], InputFile]], is_shown: Callable[[str], bool]) -> _Found:
    names = sorted(files)
    return _Found(
        base,
        sorted((files[name]() for name in names if is_shown(name)), key=lambda file: file.path),
        [f"{base}/{name}" for name in names if not is_shown(name)],
    )


def _left_out(hidden: Sequence[str]) -> str:
    if not hidden:
        return ""
    files = "1 hidden file was" if len(hidden) == 1 else f"{len(hidden)} hidden files were"
    return f"{files} left out, such as {hidden[0]}; --hidden reads them too"


def _is_hidden(name: str) -> bool:
    return name.startswith(_HIDDEN)


def _walk(base: str) -> Iterator[str]:
    """The path of every file below a folder; links are followed, except to a folder that contains them."""

    def fail(error: OSError) -> None:
        # A hidden folder may be unreadable if it is left out.
        hidden = any(map(_is_hidden, str(error.filename)[len(base) + 1 :].split("/")))
        if not isinstance(error, FileNotFoundError) and not hidden:
            raise error

    for folder, folders, names in os.walk(base or "/", followlinks=True, onerror=fail):
        here = os.path.realpath(folder) + os.sep
        folders[:] = [name for name in folders if not here.startswith(os.path.realpath(os.path.join(folder, name)) + os.sep)]
        yield from (os.path.join(folder, name) for name in names)


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
