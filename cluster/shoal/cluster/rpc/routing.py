"""Addresses of shards and encoders, from the last routing message of the coordinator. Immutable values, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from shoal.internal.v1 import coordinator_pb2, index_pb2
from shoal.v1 import status_pb2


class ShardId(NamedTuple):
    """One shard of one generation."""

    generation: int
    shard: int

    def __str__(self) -> str:
        return f"{self.generation}/{self.shard}"

    def key(self) -> index_pb2.ShardKey:
        """The shard as a message."""
        return index_pb2.ShardKey(generation=self.generation, shard=self.shard)


class ModelId(NamedTuple):
    """A model by name and fingerprint. Vectors are comparable only when fingerprints match."""

    model: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ModelOutage:
    """Why calls to a model are refused now."""

    reason: str
    """One line that names the model."""
    retry_after_ms: int
    """When a retry may succeed; 0 when something must be changed first."""


@dataclass(frozen=True, slots=True)
class ShardLocation:
    """The worker that serves a shard."""

    address: str
    stats: index_pb2.ShardStats | None
    """As last reported by the worker; None until it has opened the shard."""


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """A routing message, indexed for lookup. An empty table has age (0, 0)."""

    epoch: int = 0
    revision: int = 0
    shards: Mapping[ShardId, ShardLocation] = field(default_factory=lambda: MappingProxyType({}))
    encoders: Mapping[ModelId, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    draining: frozenset[str] = frozenset()
    """Addresses of encoders that finish their current requests and get no new ones."""
    processes: tuple[status_pb2.Process, ...] = ()
    pools: tuple[status_pb2.Pool, ...] = ()
    problems: tuple[status_pb2.Problem, ...] = ()
    outages: Mapping[ModelId, ModelOutage] = field(default_factory=lambda: MappingProxyType({}))
    """By model and wanted fingerprint; "" stands for any."""

    @classmethod
    def from_message(cls, message: coordinator_pb2.WatchRoutingResponse) -> "RoutingTable":
        """Builds a table from a message; routes without an address are ignored."""
        shards = {
            ShardId(route.key.generation, route.key.shard): ShardLocation(
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
            problems=tuple(message.problems),
            outages=MappingProxyType(
                {ModelId(one.model, one.fingerprint): ModelOutage(one.reason, one.retry_after_ms) for one in message.outages}
            ),
        )

    @property
    def age(self) -> tuple[int, int]:
        """Increases with every change, even across coordinator restarts."""
        return (self.epoch, self.revision)

    def newer(self, other: "RoutingTable") -> "RoutingTable":
        """The newer of the two; this one when both have the same age."""
        return other if other.age > self.age else self

    def addresses(self) -> frozenset[str]:
        """Every address that a call may be sent to, or may still be in flight to."""
        found = {location.address for location in self.shards.values()} | self.draining
        for replicas in self.encoders.values():
            found.update(replicas)
        return frozenset(found)

    def outage(self, model: ModelId) -> ModelOutage | None:
        """Why the model cannot be served now; None if it is served or may be soon."""
        if model in self.encoders:
            return None
        return self.outages.get(model) or self.outages.get(ModelId(model.model, ""))

    def encoders_named(self, model: str) -> Mapping[ModelId, tuple[str, ...]]:
        """The encoders of a model by name, with any fingerprint."""
        return {known: replicas for known, replicas in self.encoders.items() if known.model == model}
