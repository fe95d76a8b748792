"""Where the parts of the cluster are, as the coordinator last said. A value: nothing here waits or connects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from shoal.internal.v1 import coordinator_pb2, index_pb2
from shoal.v1 import status_pb2


class ShardId(NamedTuple):
    """One shard of one generation."""

    generation: int
    number: int

    def __str__(self) -> str:
        return f"{self.generation}/{self.number}"

    def key(self) -> index_pb2.ShardKey:
        """The form that travels."""
        return index_pb2.ShardKey(generation=self.generation, shard=self.number)


class ModelId(NamedTuple):
    """A model as a generation wants it: vectors compare only when fingerprints match."""

    model: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """The worker that serves a shard."""

    address: str
    stats: index_pb2.ShardStats | None
    """As last reported by the worker; None until it has opened the shard."""


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """One routing message as a lookup. An empty table has age (0, 0)."""

    epoch: int = 0
    revision: int = 0
    shards: Mapping[ShardId, ShardPlace] = field(default_factory=lambda: MappingProxyType({}))
    encoders: Mapping[ModelId, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    draining: frozenset[str] = frozenset()
    """Addresses of encoders that finish what they have and get nothing new."""
    processes: tuple[status_pb2.Process, ...] = ()
    pools: tuple[status_pb2.Pool, ...] = ()

    @classmethod
    def from_message(cls, message: coordinator_pb2.WatchRoutingResponse) -> "RoutingTable":
        """Reads a message; a route without an address is no route."""
        shards = {
            ShardId(route.key.generation, route.key.shard): ShardPlace(
                route.address, route.stats if route.HasField("stats") else None
            )
            for route in message.shards
            if route.address
        }
        encoders: dict[ModelId, tuple[str, ...]] = {}
        for route in message.encoders:
            if route.address and not route.draining:
                model = ModelId(route.model, route.fingerprint)
                encoders[model] = (*encoders.get(model, ()), route.address)
        return cls(
            epoch=message.epoch,
            revision=message.revision,
            shards=MappingProxyType(shards),
            encoders=MappingProxyType(encoders),
            draining=frozenset(route.address for route in message.encoders if route.draining),
            processes=tuple(message.processes),
            pools=tuple(message.pools),
        )

    @property
    def age(self) -> tuple[int, int]:
        """Grows with every change, across restarts of the coordinator too."""
        return (self.epoch, self.revision)

    def newer(self, other: "RoutingTable") -> "RoutingTable":
        """The younger of the two; this one when they are as old."""
        return other if other.age > self.age else self

    def addresses(self) -> frozenset[str]:
        """Every address that a call may go to, or may still be under way to."""
        found = {place.address for place in self.shards.values()} | self.draining
        for replicas in self.encoders.values():
            found.update(replicas)
        return frozenset(found)

    def encoders_named(self, model: str) -> Mapping[ModelId, tuple[str, ...]]:
        """The encoders of a model by its name alone, whatever their fingerprints."""
        return {known: replicas for known, replicas in self.encoders.items() if known.model == model}
