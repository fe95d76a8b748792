"""The output folder of a job: its description, and for each part the vectors, the bad rows and a manifest.

The files of a part are written first and its manifest last, each one atomically. Files that no manifest names do not
count. Safe to use from many processes at once, except for `begin`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.job import Job, difference
from shoal.cluster.jobs.encode.parts import PartId
from shoal.workers.indexing import DamagedFile, Storage, StoredFile, checksum_of
from shoal.workers.runtime import LockHeld, error_line, is_partial, lock_file

JOB = "job.json"
SUMMARY = "summary.json"
LOCK = ".lock"
DATA, ERRORS, MANIFEST, ATTEMPTS = ".parquet", ".errors.jsonl", ".json", ".attempts"
_READERS = 16


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of a part."""

    path: str
    bytes: int
    checksum: str
    """Hex blake2b-256."""


@dataclass(frozen=True, slots=True)
class PartManifest:
    """The files and counts of a finished part."""

    split: int
    part: int
    last: bool
    """True for the last part of its split."""
    rows: int
    bad_rows: int
    tokens: int
    truncated: int
    input_bytes: int
    data: FileInfo | None
    """None if there are no good rows."""
    errors: FileInfo | None
    """None if there are no bad rows."""

    @property
    def id(self) -> PartId:
        """The id of the part."""
        return PartId(self.split, self.part)

    def to_json(self) -> bytes:
        """One JSON object."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_json(data: bytes) -> PartManifest:
        """Raises ValueError, KeyError or TypeError when `data` is not a manifest."""
        values = json.loads(data)
        for name in ("data", "errors"):
            values[name] = FileInfo(**values[name]) if values[name] is not None else None
        return PartManifest(**values)


class OutputFolder:
    """The output of a job, at a path or a URI of pyarrow.fs. Methods raise JobError in one line that names the folder."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._lock: IO[str] | None = None
        try:
            self._storage = Storage(root)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise JobError(f"{root}: cannot be used for output: {error_line(error)}") from error

    def begin(self, job: Job, overwrite: bool) -> Job:
        """Starts or resumes the job in the folder, and removes unfinished parts of earlier runs.

        Returns the job as it was first started. Raises JobError when another process is writing to the folder, or when it
        holds another job (unless `overwrite`, which removes the other job's files) or other files.
        """
        self._take_lock()
        names = [file.path for file in self._list()]
        if JOB not in names:
            foreign = [name for name in names if not is_partial(name) and name != LOCK and not _ours(name)]
            if foreign:
                raise JobError(f"{self.root}: contains {foreign[0]}, but no job; choose an empty folder")
        elif not overwrite and (before := self.job()) is not None:
            if differs := difference(before, job):
                raise JobError(f"{self.root}: contains another job: {differs}; choose another --output, or use --overwrite")
            self._clear()
            return before
        # Deleted first, so that parts of the other job are never mistaken for parts of this one.
        self._delete(JOB)
        for name in names:
            if _ours(name):
                self._delete(name)
        self._write(JOB, job.to_json())
        return job

    def close(self) -> None:
        """Releases the folder for other processes."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def check_same(self, job_id: str) -> None:
        """Raises JobError unless this process sees the folder in which the job was started."""
        try:
            job = self.job()
        except JobError:
            job = None
        if job is None or job.id != job_id:
            raise JobError(
                f"{self.root}: a different folder on {os.uname().nodename}; all nodes must share the output folder"
            )

    def finished(self) -> list[PartManifest]:
        """The manifests of all parts whose files exist, in order."""
        sizes = {file.path: file.bytes for file in self._list()}
        paths = sorted(path for path in sizes if path.endswith(MANIFEST) and _part_of(path))
        with ThreadPoolExecutor(_READERS) as readers:
            manifests = [one for one in readers.map(self._manifest, paths) if one is not None]
        return [
            one
            for one in sorted(manifests, key=lambda one: (one.split, one.part))
            if all(file is None or sizes.get(file.path) == file.bytes for file in (one.data, one.errors))
        ]

    def attempts(self, part: PartId) -> int:
        """How often an unfinished part was started in this run."""
        return int(self._read(part.name + ATTEMPTS) or b"0")

    def count_attempts(self, part: PartId, attempts: int) -> None:
        """Records how often a part was started, until `commit`."""
        self._write(part.name + ATTEMPTS, str(attempts).encode())

    def put(self, name: str, data: pa.Buffer | bytes) -> FileInfo:
        """Writes a file of a part. It does not count before `commit`."""
        self._write(name, data)
        return FileInfo(name, len(data), checksum_of(data))

    def commit(self, manifest: PartManifest) -> None:
        """Makes a part count. Its files must be written before."""
        self._write(manifest.id.name + MANIFEST, manifest.to_json())
        self._delete(manifest.id.name + ATTEMPTS)

    def bad_rows(self) -> Iterator[str]:
        """The bad rows of all finished parts in order, each a JSON object; raises JobError."""
        for manifest in self.finished():
            if manifest.errors is not None:
                yield from (self._read(manifest.errors.path) or b"").decode().splitlines()

    def ids(self) -> Iterator[tuple[str, list[str]]]:
        """The name of each finished part's file, and the ids of its rows, in order; reads nothing else. Raises JobError."""
        for manifest in self.finished():
            if manifest.data is None:
                continue
            try:
                with self._storage.open(manifest.data.path) as file:
                    yield manifest.data.path, pyarrow.parquet.read_table(file, columns=["id"]).column("id").to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise JobError(f"{self.root}/{manifest.data.path}: cannot be read: {error_line(error)}") from error

    def conclude(self, summary: bytes) -> None:
        """Marks the job as finished, and removes partial files of processes that died."""
        for file in self._list():
            if is_partial(file.path) or (file.path.endswith(ATTEMPTS) and _ours(file.path)):
                self._delete(file.path)
        self._write(SUMMARY, summary)

    def _clear(self) -> None:
        """Removes files that no finished part names, and the attempts of earlier runs, which do not count in this one."""
        keep = {JOB, SUMMARY}
        for manifest in self.finished():
            keep.add(manifest.id.name + MANIFEST)
            keep |= {file.path for file in (manifest.data, manifest.errors) if file is not None}
        for file in self._list():
            if file.path not in keep and (is_partial(file.path) or _ours(file.path)):
                self._delete(file.path)

    def _take_lock(self) -> None:
        """Creates the folder and locks it until this process ends. A URI may be an object store, which has no locks."""
        try:
            self._storage.create_root()
            if "://" not in self.root:
                self._lock = lock_file(Path(self.root) / LOCK)
        except LockHeld:
            raise JobError(f"{self.root}: another shoal encode is writing to it") from None
        except OSError as error:
            raise JobError(f"{self.root}: cannot be used for output: {error_line(error)}") from error

    def _manifest(self, path: str) -> PartManifest | None:
        try:
            return PartManifest.from_json(self._read(path) or b"")
        except (ValueError, KeyError, TypeError):
            # Damaged or missing, so the part is encoded again.
            return None

    def job(self) -> Job | None:
        """The job in the folder, None if there is none."""
        data = self._read(JOB)
        return None if data is None else Job.from_json(data, f"{self.root}/{JOB}")

    def _list(self) -> list[StoredFile]:
        try:
            return self._storage.list("")
        except (OSError, pa.ArrowException) as error:
            raise JobError(f"{self.root}: cannot be read: {error_line(error)}") from error

    def _read(self, path: str) -> bytes | None:
        try:
            return self._storage.read(path, None).to_pybytes()
        except DamagedFile:
            return None
        except (OSError, pa.ArrowException) as error:
            raise JobError(f"{self.root}/{path}: cannot be read: {error_line(error)}") from error

    def _write(self, path: str, data: pa.Buffer | bytes) -> None:
        try:
            self._storage.write(path, data)
        except (OSError, pa.ArrowException) as error:
            raise JobError(f"{self.root}/{path}: cannot be written: {error_line(error)}") from error

    def _delete(self, path: str) -> None:
        try:
            self._storage.delete(path)
        except (OSError, pa.ArrowException) as error:
            raise JobError(f"{self.root}/{path}: cannot be deleted: {error_line(error)}") from error


def _ours(path: str) -> bool:
    return path in (JOB, SUMMARY) or _part_of(path) is not None


def _part_of(path: str) -> PartId | None:
    suffix = next((one for one in (ERRORS, ATTEMPTS, DATA, MANIFEST) if path.endswith(one)), "")
    return PartId.parse(path.removesuffix(suffix))
