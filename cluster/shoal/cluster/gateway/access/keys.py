"""Creating, listing and revoking API keys."""

from __future__ import annotations

from collections.abc import Callable

from shoal.cluster.decisions.access import EVERY_COLLECTION
from shoal.cluster.errors import InvalidRequest, quoted, shortened
from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.paths.validation import check_collection_name, out_of_limit
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.key_messages import key_message
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import keys_pb2, permissions_pb2

NAME_CHARACTERS = 128
MOST_COLLECTIONS = 100
LONGEST_MS = 100 * 366 * 86_400_000
"""A hundred years."""


class KeyPath:
    """Reads come from the ledger; changes go to the coordinator. All methods raise ClusterError or LedgerError."""

    def __init__(self, reads: LedgerReads, link: CoordinatorLink, limits: RequestLimits, now_ms: Callable[[], int]) -> None:
        self._reads = reads
        self._link = link
        self._limits = limits
        self._now_ms = now_ms

    async def create(self, request: keys_pb2.CreateKeyRequest, deadline: Deadline) -> keys_pb2.CreateKeyResponse:
        """Creates a key; the reply alone has its text."""
        check_new_key(request, self._limits)
        return await self._link.create_key(coordinator_pb2.CreateKeyRequest(request=request), deadline)

    async def list_all(self) -> keys_pb2.ListKeysResponse:
        """All keys, oldest first."""
        return keys_pb2.ListKeysResponse(keys=[key_message(key, self._now_ms()) for key in await self._reads.keys()])

    async def revoke(self, request: keys_pb2.RevokeKeyRequest, deadline: Deadline) -> keys_pb2.RevokeKeyResponse:
        """Revokes a key for good."""
        revoked = await self._link.revoke_key(coordinator_pb2.RevokeKeyRequest(id=request.id), deadline)
        return keys_pb2.RevokeKeyResponse(key=revoked)


def check_new_key(request: keys_pb2.CreateKeyRequest, limits: RequestLimits) -> None:
    """A name, a role, collections, and a lifetime. Raises InvalidRequest."""
    if not request.name.strip() or not request.name.isprintable():
        raise InvalidRequest(
            f"name = {quoted(request.name)}: must say what the key is for, in printable characters",
            field="name",
            value=shortened(request.name),
        )
    if len(request.name) > NAME_CHARACTERS:
        raise out_of_limit("name", len(request.name), NAME_CHARACTERS, "characters")
    if request.role not in permissions_pb2.AccessRole.values() or not request.role:
        raise InvalidRequest(f"role = {request.role}: must be read, write or admin", field="role", value=str(request.role))
    if not request.collections:
        raise InvalidRequest(
            f"collections: a key needs at least one; {EVERY_COLLECTION!r} is every collection", field="collections"
        )
    if len(request.collections) > MOST_COLLECTIONS:
        raise out_of_limit("collections", len(request.collections), MOST_COLLECTIONS, "collections")
    for index, name in enumerate(request.collections):
        if name != EVERY_COLLECTION:
            check_collection_name(name.removesuffix("*"), limits, f"collections[{index}]")
    if request.HasField("lifetime_ms") and not 0 < request.lifetime_ms <= LONGEST_MS:
        raise InvalidRequest(
            f"lifetime_ms = {request.lifetime_ms}: must be from 1 to {LONGEST_MS}",
            field="lifetime_ms",
            value=str(request.lifetime_ms),
            limit=LONGEST_MS,
        )
