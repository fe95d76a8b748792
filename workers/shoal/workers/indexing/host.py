"""Holds the shards of one worker: brings them to the states of manifests and answers from them. No gRPC and no Ray here."""

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
        super().__init__(f"epoch {sent} is over: a coordinator of epoch {seen} has taken its place")


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """The shard's state after a sync, and what was damaged. When anything was, the state is the old one."""

    stats: ShardStats
    damaged_ordinals: tuple[int, ...] = ()
    sealed_damaged: bool = False


@dataclass(frozen=True, slots=True)
class _Open:
    """A shard that searches see, and the manifest that it is the state of."""

    manifest: ManifestInfo
    snapshot: Snapshot


class ShardHost:
    """Safe to use from many threads. Syncs of one shard go one after another; searches never wait for them."""

    def __init__(self, storage: Storage, staged_bytes: int = STAGED_BYTES) -> None:
        self._storage = storage
        self._staged = StagedRows(staged_bytes)
        # Guards the fields below; held for a moment only. The writers' locks are held for as long as a sync takes.
        self._mutex = threading.Lock()
        self._writers: defaultdict[Key, threading.Lock] = defaultdict(threading.Lock)
        self._shards: dict[Key, _Open] = {}
        self._waiters: defaultdict[Key, list[tuple[int, Future[None]]]] = defaultdict(list)
        self._epoch = 0

    def stage(self, epoch: int, key: Key, spec: IndexSpec, ordinal: int, rows: Rows) -> SegmentInfo:
        """Writes rows as a segment file that nothing sees until a manifest names it; the shard need not be open.

        Every attempt gets a file of its own, so attempts at one ordinal cannot harm each other: the ledger names one.
        Raises StaleEpoch, ValueError naming what is wrong with the rows, and OSError when storage fails.
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
        """Brings a shard to the state of `manifest`, opening it when it is new; asking again changes nothing.

        Only what is new is read when the manifest continues the one the shard is at, else everything is. Raises
        StaleEpoch, ValueError for a manifest that makes no sense, and OSError when storage cannot be reached.
        """
        key = (manifest.generation, manifest.shard)
        self._admit(epoch)
        _check(manifest)
        with self._writer(key):
            # Once more: a newer coordinator may have come while this call waited for its turn.
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
        """Closes a shard; its files stay. One that is not open is fine. Raises StaleEpoch."""
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
        """The version of each id's live vector, 0 where there is none. Raises UnknownShard."""
        return self._open(key).snapshot.lookup(ids)

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
        """Done once searches see segment `ordinal`; fails with UnknownShard when the shard is closed before.

        A waiter that loses patience cancels it. Raises UnknownShard when the shard is not open now.
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
        """The state of the sealed file alone, and whether that file is damaged."""
        if manifest.sealed is None:
            return Snapshot.empty(manifest.spec), False
        try:
            return Snapshot.empty(manifest.spec, read_sealed(self._storage, manifest, manifest.sealed)), False
        except DamagedFile:
            return Snapshot.empty(manifest.spec), True

    def _read_segments(
        self, manifest: ManifestInfo, segments: Sequence[SegmentInfo]
    ) -> tuple[list[tuple[int, Rows]], tuple[int, ...]]:
        """The rows of the segments that are sound, and the ordinals of all that are not."""
        sound: list[tuple[int, Rows]] = []
        damaged: list[int] = []
        for segment in segments:
            try:
                rows = self._staged.find(segment.checksum) or read_segment(self._storage, manifest, segment)
                sound.append((segment.ordinal, rows))
            except DamagedFile:
                damaged.append(segment.ordinal)
        return sound, tuple(damaged)

    def _publish(self, key: Key, shard: _Open) -> None:
        with self._mutex:
            self._shards[key] = shard
            served = [future for ordinal, future in self._waiters.get(key, ()) if ordinal <= shard.snapshot.through]
        # Outside the lock, since a finished future runs its callbacks here.
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
    """Whether `new` is `old` and more segments behind it."""
    same = old.spec == new.spec and old.sealed == new.sealed
    return same and new.segments[: len(old.segments)] == old.segments
