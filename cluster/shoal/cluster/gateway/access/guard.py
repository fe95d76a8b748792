"""Admits callers by their API keys, before anything of a call is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from google.protobuf.message import Message

from shoal.cluster.decisions.access import (
    EVERY_COLLECTION,
    AccessLevel,
    AccessRefusal,
    ApiKey,
    authenticated,
    presented,
    refusal_of,
)
from shoal.cluster.errors import ClusterError, PermissionDenied, Unauthenticated, from_ledger
from shoal.cluster.gateway.access.method_rules import MethodRule, method_rules
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.ledger.errors import CollectionNotFound
from shoal.v1 import collections_pb2, status_pb2

AUTHORIZATION = "authorization"

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call."""

    key: ApiKey | None
    """None where no key is needed."""

    def sees(self, collection: str) -> bool:
        """Whether the caller may know of a collection."""
        return self.key is None or self.key.covers(collection)

    @property
    def unrestricted(self) -> bool:
        """Whether the caller may know of every collection."""
        return self.key is None or self.key.unrestricted


ANYBODY = Caller(None)


def visible_collections(
    reply: collections_pb2.ListCollectionsResponse, caller: Caller
) -> collections_pb2.ListCollectionsResponse:
    """The reply with only the collections that the caller may know of."""
    if caller.unrestricted:
        return reply
    return collections_pb2.ListCollectionsResponse(
        collections=[collection for collection in reply.collections if caller.sees(collection.name)]
    )


def visible_status(reply: status_pb2.StatusResponse, caller: Caller) -> status_pb2.StatusResponse:
    """The reply with only the collections that the caller may know of; without processes, pools and cache unless it may know
    of all, because they tell the models of others."""
    if caller.unrestricted:
        return reply
    return status_pb2.StatusResponse(
        collections=[collection for collection in reply.collections if caller.sees(collection.name)],
        coordinator_epoch=reply.coordinator_epoch,
        version=reply.version,
    )


class Guard:
    """Asks the ledger at every call, so that a revoked key is refused at once by every gateway."""

    def __init__(self, reads: LedgerReads, keys_required: bool, now_ms: Callable[[], int]) -> None:
        self._reads = reads
        self._keys_required = keys_required
        self._now_ms = now_ms
        self._rules = method_rules()

    async def admit(self, method: str, metadata: Metadata) -> Caller:
        """The caller of a method, as "/package.Service/Method".

        Raises Unauthenticated without a valid key, PermissionDenied when its role is too low, and LedgerError.
        """
        if not self._keys_required:
            return ANYBODY
        rule = self._rules[method]
        sent = presented([value for key, value in metadata if key == AUTHORIZATION])
        if sent is None:
            raise _error(AccessRefusal.MISSING, rule)
        key = await self._reads.key(sent.id)
        if not authenticated(sent, key, self._now_ms()) or key is None:
            raise _error(AccessRefusal.INVALID, rule)
        refusal = refusal_of(key, rule.needs)
        if refusal is not None:
            raise _error(refusal, rule, key)
        return Caller(key)

    def check(self, method: str, caller: Caller, request: Message) -> None:
        """Raises what the caller gets for a collection outside of its scope: the same as for one that does not exist."""
        if caller.key is None:
            return
        rule = self._rules[method]
        collection = rule.collection(request)
        refusal = refusal_of(caller.key, rule.needs, collection)
        if refusal is not None:
            raise _error(refusal, rule, caller.key, collection or "")


def _error(refusal: AccessRefusal, rule: MethodRule, key: ApiKey | None = None, collection: str = "") -> ClusterError:
    if key is None:
        missing = "this server needs an API key, sent as 'authorization: Bearer KEY'"
        return Unauthenticated(missing if refusal is AccessRefusal.MISSING else "the API key is not valid")
    if refusal is AccessRefusal.ROLE:
        role, needed = key.role.name.lower(), rule.needs.name.lower()
        return PermissionDenied(f"{rule.name} needs the role {needed!r}; API key {key.name!r} has the role {role!r}")
    if collection == EVERY_COLLECTION:
        return PermissionDenied(f"{rule.name} needs an API key for every collection; {key.name!r} is for some")
    if rule.needs is AccessLevel.ADMIN:
        return PermissionDenied(f"API key {key.name!r} is not for a collection named {collection!r}")
    return from_ledger(CollectionNotFound(collection))
