"""Immutable, checksummed files under one root: a local folder or any URI that pyarrow.fs knows.

What is in them lives elsewhere.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from hashlib import blake2b

import pyarrow as pa
from pyarrow import fs

_PARTIAL = ".partial"


class DamagedFile(Exception):
    """A file is not what the ledger says: `reason` is "missing", "checksum" or "unreadable"."""

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        # All three are given to Exception, so that the error survives pickling on its way out of a Ray task.
        super().__init__(path, reason, detail)
        self.path = path
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"file {self.path} is damaged: {self.reason}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file under the root."""

    path: str
    bytes: int
    modified_s: float
    """Seconds since the epoch, by the storage's clock."""


def checksum_of(data: pa.Buffer | bytes) -> str:
    """Hex blake2b-256 over the bytes."""
    return blake2b(data, digest_size=32).hexdigest()


class Storage:
    """Files by paths relative to `root`. Safe to use from many threads.

    Besides what each method says, all raise OSError when the storage cannot be reached or is full, and ValueError for
    a path that leaves the root.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        if "://" in root:
            self._fs, self._base = fs.FileSystem.from_uri(root)
        else:
            self._fs, self._base = fs.LocalFileSystem(), os.path.abspath(root)
        self._local = isinstance(self._fs, fs.LocalFileSystem)
        self._objects = self._fs.type_name in ("s3", "gcs", "abfs")

    def write(self, path: str, data: pa.Buffer | bytes) -> str:
        """Makes `path` appear whole and durable, or not at all; returns its checksum."""
        place = self._place(path)
        if self._local:
            _write_local(place, data)
            return checksum_of(data)
        self._fs.create_dir(place.rpartition("/")[0], recursive=True)
        # An object store shows an object only when it is complete; elsewhere a half-written file must not bear the name.
        target = place if self._objects else _partial_name(place)
        with self._fs.open_output_stream(target) as stream:
            stream.write(data)
        if not self._objects:
            self._fs.move(target, place)
        return checksum_of(data)

    def read(self, path: str, checksum: str | None) -> pa.Buffer:
        """The bytes of a file; raises DamagedFile when it is missing or, unless None, its checksum is another."""
        place = self._place(path)
        try:
            with self._fs.open_input_file(place) as file:
                data = file.read_buffer()
        except FileNotFoundError:
            # An unmounted disk lacks every file; calling them all damaged would have everything embedded again.
            if not self._objects and self._fs.get_file_info(self._base).type != fs.FileType.Directory:
                raise OSError(f"storage root {self.root} is not there") from None
            raise DamagedFile(path, "missing") from None
        if checksum is not None and checksum_of(data) != checksum:
            raise DamagedFile(path, "checksum")
        return data

    def delete(self, path: str) -> None:
        """Deletes a file; one that is not there is fine."""
        try:
            self._fs.delete_file(self._place(path))
        except FileNotFoundError:
            pass

    def list(self, folder: str) -> list[StoredFile]:
        """All files below `folder`, "" for the root, in order of path; none when there is no such folder."""
        selector = fs.FileSelector(self._place(folder) if folder else self._base, allow_not_found=True, recursive=True)
        skip = len(self._base.rstrip("/")) + 1
        files = [
            StoredFile(info.path[skip:], info.size or 0, (info.mtime_ns or 0) / 1e9)
            for info in self._fs.get_file_info(selector)
            if info.type == fs.FileType.File
        ]
        return sorted(files, key=lambda file: file.path)

    def folders(self) -> list[str]:
        """Names of the folders directly under the root, in order."""
        selector = fs.FileSelector(self._base, allow_not_found=True)
        return sorted(info.base_name for info in self._fs.get_file_info(selector) if info.type == fs.FileType.Directory)

    def _place(self, path: str) -> str:
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"path {path!r} is not a path below the storage root")
        return f"{self._base.rstrip('/')}/{path}"


def _partial_name(place: str) -> str:
    return f"{place}.{secrets.token_hex(4)}{_PARTIAL}"


def _write_local(place: str, data: pa.Buffer | bytes) -> None:
    folder = os.path.dirname(place)
    made = _make_folders(folder)
    partial = _partial_name(place)
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, place)
    except BaseException:
        if os.path.exists(partial):
            os.unlink(partial)
        raise
    # A name is durable only once the folder that holds it is, and so on upwards for folders that are new.
    for changed in (folder, *made):
        _sync_folder(changed)


def _make_folders(folder: str) -> list[str]:
    """Makes `folder` and what is missing above it; returns the folders that got a new entry."""
    changed: list[str] = []
    above = folder
    while not os.path.isdir(above):
        above = os.path.dirname(above)
        changed.append(above)
    os.makedirs(folder, exist_ok=True)
    return changed


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
