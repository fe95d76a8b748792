"""The path of writes: validated against the collection, forwarded to the coordinator, and awaited on request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.errors import DeadlineExceeded, InvalidRequest, NotEmbedded
from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.paths.document_messages import failed_response
from shoal.cluster.gateway.paths.documents_validation import WriteRules, check_documents
from shoal.cluster.gateway.paths.room import Room
from shoal.cluster.gateway.paths.validation import check_collection_name, check_ids, check_source, parse_token
from shoal.cluster.gateway.paths.visibility import WriteVisibility
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import documents_pb2

_SMALL_DOCUMENTS = 64
_SMALL_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class CheckedWrite:
    """A write that may be forwarded."""

    wire: bytes
    """The serialized WriteRequest."""
    repeatable: bool
    """False if it has an expected version: it would conflict with its own first attempt."""


class WritePath:
    """All methods raise ClusterError or LedgerError; a rejected write changes nothing."""

    def __init__(
        self, reads: LedgerReads, link: CoordinatorLink, visibility: WriteVisibility, limits: RequestLimits
    ) -> None:
        self._reads = reads
        self._link = link
        self._visibility = visibility
        self._limits = limits
        self._small_batches = ThreadPoolExecutor(1, thread_name_prefix="shoal-check")
        self._large_batches = ThreadPoolExecutor(1, thread_name_prefix="shoal-check-large")

    def close(self) -> None:
        """Ends the threads."""
        for threads in (self._small_batches, self._large_batches):
            threads.shutdown(wait=False, cancel_futures=True)

    async def checked(self, collection: str, documents: Sequence[documents_pb2.Document], source: str = "") -> CheckedWrite:
        """The WriteRequest for an upsert, with canonical payloads; raises InvalidRequest.

        Changes the payloads of `documents`.
        """
        check_collection_name(collection, self._limits)
        check_source(source, self._limits)
        record = await self._reads.collection(collection)
        # A full batch is tens of megabytes of JSON and text: too much for the event loop. One thread takes one batch at a
        # time, so that only one is there twice; small ones have another thread.
        large = len(documents) > _SMALL_DOCUMENTS or sum(document.ByteSize() for document in documents) > _SMALL_BYTES
        threads = self._large_batches if large else self._small_batches
        rules = WriteRules.of(record)
        return await asyncio.get_running_loop().run_in_executor(
            threads, _write_request, documents, source, rules, self._limits
        )

    async def commit(self, write: CheckedWrite, deadline: Deadline) -> coordinator_pb2.WriteResponse:
        """Forwards a checked request."""
        return await self._link.write(write.wire, deadline, write.repeatable)

    async def upsert(
        self, request: documents_pb2.UpsertRequest, deadline: Deadline, room: Room
    ) -> documents_pb2.UpsertResponse:
        """Commits documents; with `wait`, returns when a search finds them. Frees the room of the request when committed."""
        collection, wait = request.collection, request.wait
        write = await self.checked(collection, request.documents)
        # From here on the batch is there once.
        del request
        written = await self.commit(write, deadline)
        del write
        room.free_request()
        if wait:
            await self._until_shown(collection, written, deadline)
        return documents_pb2.UpsertResponse(results=written.results, token=written.token)

    async def delete(self, request: documents_pb2.DeleteRequest, deadline: Deadline) -> documents_pb2.DeleteResponse:
        """Commits deletes. Searches hide a deleted document at once; `wait` also waits for the shards to drop it."""
        check_collection_name(request.collection, self._limits)
        check_ids(request.ids, self._limits)
        check_source(request.source, self._limits)
        deletes = coordinator_pb2.WriteRequest(collection=request.collection, deletes=request.ids, source=request.source)
        written = await self.commit(CheckedWrite(deletes.SerializeToString(), True), deadline)
        if request.wait:
            await self._until_shown(request.collection, written, deadline)
        return documents_pb2.DeleteResponse(results=written.results, token=written.token)

    async def retry_failed(
        self, request: documents_pb2.RetryFailedRequest, deadline: Deadline
    ) -> documents_pb2.RetryFailedResponse:
        """Retries failed documents, all of them when no ids are given; the reply says how many."""
        check_collection_name(request.collection, self._limits)
        check_ids(request.ids, self._limits, needed=False)
        retry = coordinator_pb2.RetryFailedRequest(collection=request.collection, ids=request.ids)
        return documents_pb2.RetryFailedResponse(retried=await self._link.retry_failed(retry, deadline))

    async def wait(self, request: documents_pb2.WaitRequest, deadline: Deadline) -> documents_pb2.WaitResponse:
        """Returns when searches show the writes of a token, or after the time that the request gives; says what failed."""
        check_collection_name(request.collection, self._limits)
        awaited = AwaitedWrites(parse_token(request.token))
        if request.longest_ms < 0:
            raise InvalidRequest(f"longest_ms: {request.longest_ms} is below 0", field="longest_ms", limit=0)
        within = deadline.with_margin()
        if request.longest_ms:
            within = within.earlier(Deadline.within(request.longest_ms / 1000))
        pending = 0
        try:
            awaited = await self._visibility.until_shown(request.collection, request.token, within)
        except DeadlineExceeded:
            if not request.longest_ms:
                raise
            await self._reads.cut(request.collection, awaited)
            pending = max(1, awaited.pending)
        failed = await self._reads.failed_writes(request.collection, awaited, self._limits.failed_per_list)
        response = documents_pb2.WaitResponse(pending=pending, failed_total=failed.total)
        response.failed.extend(failed_response(failed).documents)
        return response

    async def _until_shown(self, collection: str, written: coordinator_pb2.WriteResponse, deadline: Deadline) -> None:
        """Waits, and adds an error to the result of each document that cannot be embedded."""
        awaited = await self._visibility.until_shown(collection, written.token, deadline.with_margin())
        if not awaited.failed:
            return
        failed = await self._reads.failed_writes(collection, awaited, len(written.results))
        reasons = {document.id: document.reason for document in failed.documents}
        for result in written.results:
            if result.id in reasons and not result.HasField("error"):
                message = f"document {result.id!r} is stored, but cannot be embedded: {reasons[result.id]}"
                result.error.CopyFrom(NotEmbedded(message).detail())


def _write_request(
    documents: Sequence[documents_pb2.Document], source: str, rules: WriteRules, limits: RequestLimits
) -> CheckedWrite:
    payloads = check_documents(documents, rules, limits)
    for document, payload in zip(documents, payloads, strict=True):
        document.payload = payload
    repeatable = not any(document.HasField("expected_version") for document in documents)
    return CheckedWrite(
        coordinator_pb2.WriteRequest(collection=rules.name, upserts=documents, source=source).SerializeToString(), repeatable
    )
