"""Immutable, checksummed files under one root: a local folder or any URI that pyarrow.fs knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from shoal.workers.runtime import partial_name, sync_folder, whole_file


class DamagedFile(Exception):
    """A file does not match the ledger: `reason` is "missing", "checksum" or "unreadable"."""

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        # Exception gets all three arguments, so that the error can be pickled on its way out of a Ray task.
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

    All methods also raise OSError when the storage cannot be reached or is full, and ValueError for a path outside
    the root.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        if "://" in root:
            self._fs, self._base = fs.FileSystem.from_uri(root)
        else:
            self._fs, self._base = fs.LocalFileSystem(), os.path.abspath(root)
        self._local = isinstance(self._fs, fs.LocalFileSystem)
        self._objects = self._fs.type_name in ("s3", "gcs", "abfs")

    @property
    def folder(self) -> str:
        """The root as a folder of this machine; empty if it is not one."""
        return self._base if self._local else ""

    def create_root(self) -> None:
        """Creates a root on this machine if it does not exist."""
        if self._local:
            os.makedirs(self._base, exist_ok=True)

    def write(self, path: str, data: pa.Buffer | bytes) -> str:
        """Writes a file atomically and durably; returns its checksum. Does not create a root on this machine."""
        absolute = self._absolute(path)
        if self._local:
            # The root may be a disk that is not mounted, or a folder that was moved away and will be moved back.
            if not os.path.isdir(self._base):
                raise OSError(f"storage root {self.root} does not exist")
            _write_local(absolute, data)
            return checksum_of(data)
        self._fs.create_dir(absolute.rpartition("/")[0], recursive=True)
        # An object store shows only complete objects; elsewhere a partial file must not have the final name.
        target = absolute if self._objects else partial_name(absolute)
        with self._fs.open_output_stream(target) as stream:
            stream.write(data)
        if not self._objects:
            self._fs.move(target, absolute)
        return checksum_of(data)

    def read(self, path: str, checksum: str | None) -> pa.Buffer:
        """The bytes of a file; raises DamagedFile when it is missing or its checksum differs; None skips the check."""
        absolute = self._absolute(path)
        try:
            with self._fs.open_input_file(absolute) as file:
                data = file.read_buffer()
        except FileNotFoundError:
            # On an unmounted disk every file is missing; reporting them as damaged would embed everything again.
            if not self._objects and self._fs.get_file_info(self._base).type != fs.FileType.Directory:
                raise OSError(f"storage root {self.root} does not exist") from None
            raise DamagedFile(path, "missing") from None
        if checksum is not None and checksum_of(data) != checksum:
            raise DamagedFile(path, "checksum")
        return data

    def open(self, path: str) -> pa.NativeFile:
        """A file to read parts of."""
        return self._fs.open_input_file(self._absolute(path))

    def delete(self, path: str) -> None:
        """Deletes a file, if it exists."""
        try:
            self._fs.delete_file(self._absolute(path))
        except FileNotFoundError:
            pass

    def list(self, folder: str) -> list[StoredFile]:
        """All files below `folder`, "" for the root, in order of path; none if the folder does not exist."""
        selector = fs.FileSelector(self._absolute(folder) if folder else self._base, allow_not_found=True, recursive=True)
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

    def _absolute(self, path: str) -> str:
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"path {path!r} is not a path below the storage root")
        return f"{self._base.rstrip('/')}/{path}"


def _write_local(path: str, data: pa.Buffer | bytes) -> None:
    made = _make_folders(os.path.dirname(path))
    with whole_file(Path(path)) as file:
        file.write(data)
    # A new folder is durable only once its parent is synced.
    for changed in made:
        sync_folder(changed)


def _make_folders(folder: str) -> list[Path]:
    """Creates `folder` and its missing parents; returns the folders that got a new entry."""
    changed: list[Path] = []
    above = folder
    while not os.path.isdir(above):
        above = os.path.dirname(above)
        changed.append(Path(above))
    os.makedirs(folder, exist_ok=True)
    return changed
