"""The shards of one worker: brings them to the state of their manifests and searches them. No gRPC, no Ray."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from shoal.workers.indexing.files.sealed_file import read_sealed
from shoal.workers.indexing.files.segment_file import read_segment, write_segment
from shoal.workers.indexing.files.storage import DamagedFile, Storage
from shoal.workers.indexing.kinds.registry import check_spec
from shoal.workers.indexing.manifest import IndexSpec, ManifestInfo, SegmentInfo
from shoal.workers.indexing.metric import Floats, prepare
from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.shard.shard import Hits, ShardStats, Snapshot
from shoal.workers.indexing.shard.staged_rows import StagedRows

STAGED_BYTES = 64 * 1024 * 1024

Key = tuple[int, int]
"""Generation and shard number."""


class UnknownShard(Exception):
    """A shard that is not open on this worker."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"shard {key[0]}/{key[1]} is not open here")


class StaleEpoch(Exception):
    """A command from a coordinator that has been replaced."""

    def __init__(self, sent: int, seen: int) -> None:
        super().__init__(f"epoch {sent} has ended: a coordinator with epoch {seen} has replaced it")


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """The shard's state after a sync, and its damaged files. If any file is damaged, the state is the old one."""

    stats: ShardStats
    damaged_ordinals: tuple[int, ...] = ()
    sealed_damaged: bool = False


@dataclass(frozen=True, slots=True)
class _Open:
    """An open shard: the manifest and the snapshot that was built from it."""

    manifest: ManifestInfo
    snapshot: Snapshot


class ShardHost:
    """Safe to use from many threads. Syncs of one shard go one after another; searches never wait for them."""

    def __init__(self, storage: Storage, staged_bytes: int = STAGED_BYTES) -> None:
        self._storage = storage
        self._staged = StagedRows(staged_bytes)
        # Guards the fields below and is held only briefly. The locks of the writers are held as long as a sync takes.
        self._mutex = threading.Lock()
        self._writers: defaultdict[Key, threading.Lock] = defaultdict(threading.Lock)
        self._shards: dict[Key, _Open] = {}
        self._waiters: defaultdict[Key, list[tuple[int, Future[None]]]] = defaultdict(list)
        self._epoch = 0

    def stage(self, epoch: int, key: Key, spec: IndexSpec, ordinal: int, rows: Rows) -> SegmentInfo:
        """Writes rows as a segment file that stays invisible until a manifest names it; the shard need not be open.

        Every attempt writes its own file, so attempts at one ordinal cannot harm each other: the ledger names one.
        Raises StaleEpoch, ValueError naming the problem with the rows, and OSError when storage fails.
        """
        self._admit(epoch)
        check_spec(spec)
        if ordinal < 1:
            raise ValueError(f"ordinal {ordinal} is below 1")
        if len(rows) == 0:
            raise ValueError("rows.ids: a segment needs at least one row")
        prepare(rows.vectors, spec.metric, spec.dimension, "rows.vectors")
        segment = write_segment(self._storage, *key, ordinal, rows, epoch)
        self._staged.keep(segment.checksum, rows)
        return segment

    def sync(self, epoch: int, manifest: ManifestInfo) -> SyncOutcome:
        """Brings a shard to the state of `manifest`, opening it if it is new. Idempotent.

        Reads only the new segments when the manifest continues the current one, and all files otherwise. Raises
        StaleEpoch, ValueError for an inconsistent manifest, and OSError when storage cannot be reached.
        """
        key = (manifest.generation, manifest.shard)
        self._admit(epoch)
        _check(manifest)
        with self._writer(key):
            # Checked again: a newer coordinator may have taken over while this call waited for the lock.
            self._admit(epoch)
            current = self._shards.get(key)
            if current is not None and current.manifest == manifest:
                return SyncOutcome(current.snapshot.stats())
            if current is not None and _continues(current.manifest, manifest):
                base, fresh = current.snapshot, manifest.segments[len(current.manifest.segments) :]
                sealed_damaged = False
            else:
                base, sealed_damaged = self._read_sealed(manifest)
                fresh = manifest.segments
            rows, damaged = self._read_segments(manifest, fresh)
            if damaged or sealed_damaged:
                kept = current.snapshot if current else Snapshot.empty(manifest.spec)
                return SyncOutcome(kept.stats(), damaged, sealed_damaged)
            snapshot = base.extended(rows, manifest.damage_count)
            self._publish(key, _Open(manifest, snapshot))
            for segment in fresh:
                self._staged.forget(segment.checksum)
            return SyncOutcome(snapshot.stats())

    def release(self, epoch: int, key: Key) -> None:
        """Closes a shard, if it is open; its files stay. Raises StaleEpoch."""
        self._admit(epoch)
        with self._writer(key):
            self._admit(epoch)
            with self._mutex:
                self._shards.pop(key, None)
                waiters = self._waiters.pop(key, [])
        for _, future in waiters:
            if future.set_running_or_notify_cancel():
                future.set_exception(UnknownShard(key))

    def search(self, key: Key, queries: Floats, k: int) -> Hits:
        """The k nearest live documents of each query (q, dim); see Snapshot.search. Raises UnknownShard."""
        return self._open(key).snapshot.search(queries, k)

    def lookup(self, key: Key, ids: Sequence[str]) -> list[int]:
        """The version of each id's live vector, 0 if it has none. Raises UnknownShard."""
        return self._open(key).snapshot.lookup(ids)

    def vectors(self, key: Key, ids: Sequence[str]) -> tuple[list[int], bytes]:
        """As `lookup`, with the packed float32 vectors of those that have one. Raises UnknownShard."""
        snapshot = self._open(key).snapshot
        found = [snapshot.vector(document_id) for document_id in ids]
        packed = b"".join(vector.astype("<f4").tobytes() for _, vector in found if vector is not None)
        return [version for version, _ in found], packed

    def spec(self, key: Key) -> IndexSpec:
        """How a shard is indexed. Raises UnknownShard."""
        return self._open(key).manifest.spec

    def stats(self, key: Key) -> ShardStats:
        """Counts of a shard. Raises UnknownShard."""
        return self._open(key).snapshot.stats()

    def describe(self) -> list[tuple[Key, ShardStats]]:
        """Counts of all open shards, in order of key."""
        with self._mutex:
            shards = sorted(self._shards.items(), key=lambda item: item[0])
        return [(key, shard.snapshot.stats()) for key, shard in shards]

    def reached(self, key: Key, ordinal: int) -> Future[None]:
        """A future, done once searches see segment `ordinal`; it fails with UnknownShard if the shard is closed first.

        A caller that gives up cancels it. Raises UnknownShard when the shard is not open.
        """
        future: Future[None] = Future()
        with self._mutex:
            shard = self._shards.get(key)
            if shard is None:
                raise UnknownShard(key)
            if shard.snapshot.through < ordinal:
                self._waiters[key].append((ordinal, future))
                future.add_done_callback(lambda done: self._forget_waiter(key, done))
                return future
        future.set_result(None)
        return future

    def _admit(self, epoch: int) -> None:
        with self._mutex:
            if epoch < self._epoch:
                raise StaleEpoch(epoch, self._epoch)
            self._epoch = epoch

    def _writer(self, key: Key) -> threading.Lock:
        with self._mutex:
            return self._writers[key]

    def _open(self, key: Key) -> _Open:
        with self._mutex:
            shard = self._shards.get(key)
        if shard is None:
            raise UnknownShard(key)
        return shard

    def _read_sealed(self, manifest: ManifestInfo) -> tuple[Snapshot, bool]:
        """The snapshot of the sealed file alone, and whether that file is damaged."""
        if manifest.sealed is None:
            return Snapshot.empty(manifest.spec), False
        try:
            return Snapshot.empty(manifest.spec, read_sealed(self._storage, manifest, manifest.sealed)), False
        except DamagedFile:
            return Snapshot.empty(manifest.spec), True

    def _read_segments(
        self, manifest: ManifestInfo, segments: Sequence[SegmentInfo]
    ) -> tuple[list[tuple[int, Rows]], tuple[int, ...]]:
        """The rows of the intact segments, and the ordinals of the damaged ones."""
        intact: list[tuple[int, Rows]] = []
        damaged: list[int] = []
        for segment in segments:
            try:
                rows = self._staged.find(segment.checksum) or read_segment(self._storage, manifest, segment)
                intact.append((segment.ordinal, rows))
            except DamagedFile:
                damaged.append(segment.ordinal)
        return intact, tuple(damaged)

    def _publish(self, key: Key, shard: _Open) -> None:
        with self._mutex:
            self._shards[key] = shard
            served = [future for ordinal, future in self._waiters.get(key, ()) if ordinal <= shard.snapshot.through]
        # Outside the lock, because a finished future runs its callbacks on this thread.
        for future in served:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def _forget_waiter(self, key: Key, done: Future[None]) -> None:
        with self._mutex:
            waiting = [entry for entry in self._waiters.get(key, []) if entry[1] is not done]
            if waiting:
                self._waiters[key] = waiting
            else:
                self._waiters.pop(key, None)


def _check(manifest: ManifestInfo) -> None:
    check_spec(manifest.spec)
    through = manifest.sealed.through if manifest.sealed else 0
    for segment in manifest.segments:
        if segment.ordinal <= through:
            raise ValueError(f"manifest.segments: ordinal {segment.ordinal} comes after {through}")
        through = segment.ordinal


def _continues(old: ManifestInfo, new: ManifestInfo) -> bool:
    """Whether `new` is `old` with further segments at its end."""
    same = old.spec == new.spec and old.sealed == new.sealed
    return same and new.segments[: len(old.segments)] == old.segments
