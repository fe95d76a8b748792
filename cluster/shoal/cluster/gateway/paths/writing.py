"""The path of writes: validated against the collection, forwarded to the coordinator, and awaited on request."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.index_shards import IndexShards
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.documents_validation import WriteRules, check_documents
from shoal.cluster.gateway.paths.validation import check_collection_name, check_ids
from shoal.cluster.gateway.paths.visibility import until_shown
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import documents_pb2


class WritePath:
    """All methods raise ClusterError or LedgerError; a rejected write changes nothing."""

    def __init__(
        self, reads: LedgerReads, link: CoordinatorLink, index_shards: IndexShards, view: RoutingView, limits: RequestLimits
    ) -> None:
        self._reads = reads
        self._link = link
        self._index_shards = index_shards
        self._view = view
        self._limits = limits

    async def checked(self, collection: str, documents: Sequence[documents_pb2.Document]) -> coordinator_pb2.WriteRequest:
        """The request to forward for an upsert, with canonical payloads; raises InvalidRequest."""
        check_collection_name(collection, self._limits)
        record = await self._reads.collection(collection)
        # A full batch is tens of megabytes of JSON and text: too much to parse on the event loop.
        payloads = await self._reads.run(check_documents, documents, WriteRules.of(record), self._limits)
        request = coordinator_pb2.WriteRequest(collection=collection, upserts=documents)
        for document, payload in zip(request.upserts, payloads, strict=True):
            document.payload = payload
        return request

    async def commit(self, request: coordinator_pb2.WriteRequest, deadline: Deadline) -> coordinator_pb2.WriteResponse:
        """Forwards a checked request."""
        return await self._link.write(request, deadline)

    async def upsert(self, request: documents_pb2.UpsertRequest, deadline: Deadline) -> documents_pb2.UpsertResponse:
        """Commits documents; with `wait`, returns when a search finds them."""
        written = await self.commit(await self.checked(request.collection, request.documents), deadline)
        if request.wait:
            await self._until_shown(request.collection, written.token, deadline)
        return documents_pb2.UpsertResponse(results=written.results, token=written.token)

    async def delete(self, request: documents_pb2.DeleteRequest, deadline: Deadline) -> documents_pb2.DeleteResponse:
        """Commits deletes. Searches hide a deleted document at once; `wait` also waits for the shards to drop it."""
        check_collection_name(request.collection, self._limits)
        check_ids(request.ids, self._limits)
        deletes = coordinator_pb2.WriteRequest(collection=request.collection, deletes=request.ids)
        written = await self.commit(deletes, deadline)
        if request.wait:
            await self._until_shown(request.collection, written.token, deadline)
        return documents_pb2.DeleteResponse(results=written.results, token=written.token)

    async def retry_failed(
        self, request: documents_pb2.RetryFailedRequest, deadline: Deadline
    ) -> documents_pb2.RetryFailedResponse:
        """Retries failed documents, all of them when no ids are given; the reply says how many."""
        check_collection_name(request.collection, self._limits)
        check_ids(request.ids, self._limits, needed=False)
        retry = coordinator_pb2.RetryFailedRequest(collection=request.collection, ids=request.ids)
        return documents_pb2.RetryFailedResponse(retried=await self._link.retry_failed(retry, deadline))

    async def _until_shown(self, collection: str, token: str, deadline: Deadline) -> None:
        await until_shown(self._reads, self._index_shards, self._view, collection, token, deadline.with_margin())
