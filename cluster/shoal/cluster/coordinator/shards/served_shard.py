"""One shard as the coordinator sees it: the shard itself, and the replicas of it that index workers serve."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from shoal.cluster.coordinator.concurrency.signals import Signal
from shoal.cluster.ledger.records import GenerationRecord
from shoal.cluster.rpc.routing import ShardId
from shoal.internal.v1 import index_pb2


class ShardUnreachable(Exception):
    """No index worker could take the shard now; the coordinator tries again when one is back."""


@dataclass(frozen=True, slots=True)
class ShardSignals:
    """What happens to shards."""

    shards_changed: Signal[[]] = field(default_factory=Signal)
    """A replica serves newer rows, or another process serves it."""
    files_replaced: Signal[[int]] = field(default_factory=Signal)
    """The generation has files that the ledger no longer names."""
    documents_damaged: Signal[[int]] = field(default_factory=Signal)
    """Damaged files have made documents of the generation pending again."""


@dataclass(slots=True, eq=False)
class ShardReplica:
    """One copy of a shard, at the index worker that should serve it."""

    worker: str
    shown_by: tuple[str, int] = ("", 0)
    """Address and process id that opened it. Another process of the same worker has nothing open."""
    stats: index_pb2.ShardStats = field(default_factory=index_pb2.ShardStats)
    """As of the last sync."""


@dataclass(slots=True, eq=False)
class ServedShard:
    """What is common to all replicas of a shard."""

    generation: GenerationRecord
    number: int
    """Its index within the generation, from 0."""
    next_ordinal: int
    replicas: tuple[ShardReplica, ...] = ()
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a segment is staged, a manifest is changed, or a replica is synced or released."""
    staged: str = ""
    """Segment file that the ledger is about to name."""
    merged: str = ""
    """Sealed file that the ledger is about to name."""

    @property
    def id(self) -> ShardId:
        """Its key."""
        return ShardId(self.generation.id, self.number)

    @property
    def workers(self) -> tuple[str, ...]:
        """The index workers that should serve it."""
        return tuple(replica.worker for replica in self.replicas)

    def place(self, workers: tuple[str, ...]) -> None:
        """Changes which workers serve it; replicas that stay where they are keep their state."""
        existing = {replica.worker: replica for replica in self.replicas}
        self.replicas = tuple(existing.get(worker) or ShardReplica(worker) for worker in workers)
