"""Writes on their way to the coordinator: checked against the collection, forwarded, and waited for where that is asked."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.index_shards import Backends
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.documents_validation import check_documents
from shoal.cluster.gateway.paths.profiles import profile_of
from shoal.cluster.gateway.paths.validation import check_collection_name, check_ids
from shoal.cluster.gateway.paths.visibility import until_shown
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import documents_pb2


class WritePath:
    """All methods raise ClusterError or LedgerError; a write that is refused changes nothing."""

    def __init__(
        self, reads: LedgerReads, link: CoordinatorLink, backends: Backends, view: RoutingView, limits: RequestLimits
    ) -> None:
        self._reads = reads
        self._link = link
        self._backends = backends
        self._view = view
        self._limits = limits

    async def checked(self, collection: str, documents: Sequence[documents_pb2.Document]) -> coordinator_pb2.WriteRequest:
        """The request to forward for an upsert, with canonical payloads; raises InvalidRequest."""
        check_collection_name(collection, self._limits)
        record = await self._reads.collection(collection)
        # A full batch is tens of megabytes of JSON and text: too long to hold up the loop.
        payloads = await self._reads.run(check_documents, documents, profile_of(record), self._limits)
        request = coordinator_pb2.WriteRequest(collection=collection, upserts=documents)
        for document, payload in zip(request.upserts, payloads, strict=True):
            document.payload = payload
        return request

    async def upsert(
        self, collection: str, documents: Sequence[documents_pb2.Document], wait: bool, deadline: Deadline
    ) -> coordinator_pb2.WriteResponse:
        """Commits documents; with `wait`, returns when a search finds them."""
        return await self._commit(await self.checked(collection, documents), wait, deadline)

    async def delete(
        self, collection: str, ids: Sequence[str], wait: bool, deadline: Deadline
    ) -> coordinator_pb2.WriteResponse:
        """Commits deletes. Searches hide a deleted document at once; `wait` also waits for the shards to drop it."""
        check_collection_name(collection, self._limits)
        check_ids(ids, self._limits)
        return await self._commit(coordinator_pb2.WriteRequest(collection=collection, deletes=ids), wait, deadline)

    async def commit(self, request: coordinator_pb2.WriteRequest, deadline: Deadline) -> coordinator_pb2.WriteResponse:
        """Forwards a checked request."""
        return await self._link.write(request, deadline)

    async def retry_failed(self, collection: str, ids: Sequence[str], deadline: Deadline) -> int:
        """Lets failed documents be tried again, all of them when no ids are given; returns how many."""
        check_collection_name(collection, self._limits)
        check_ids(ids, self._limits, needed=False)
        return await self._link.retry_failed(coordinator_pb2.RetryFailedRequest(collection=collection, ids=ids), deadline)

    async def _commit(
        self, request: coordinator_pb2.WriteRequest, wait: bool, deadline: Deadline
    ) -> coordinator_pb2.WriteResponse:
        response = await self._link.write(request, deadline)
        if wait:
            await until_shown(
                self._reads, self._backends, self._view, request.collection, response.token, deadline.with_margin()
            )
        return response
