"""The gateway's link to the coordinator: finds it by the lease in the ledger, follows its routing table, forwards writes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import grpc.aio
from google.protobuf.message import Message

from shoal.cluster.errors import ClusterError, Unavailable, Unreachable
from shoal.cluster.gateway.backends.internal_calls import call
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.rpc.channels import Channels
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import RoutingTable
from shoal.internal.v1 import coordinator_pb2, coordinator_pb2_grpc
from shoal.v1 import keys_pb2
from shoal.workers.runtime import InternalCredentials

log = logging.getLogger(__name__)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
LONGEST_FIRST_PAUSE_S = 0.1
"""Until the first coordinator has been reached."""
LEASE_CHECK_S = 2.0
RETRY_AFTER_MS = 500
BRIDGE_S = 4.0
"""How long a call is retried, within its deadline, while the coordinator restarts; callers notice only the wait."""
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 0.4
PEER = "the coordinator"
_WRITE = f"/{coordinator_pb2.DESCRIPTOR.services_by_name['CoordinatorService'].full_name}/Write"


class CoordinatorLink:
    """Belongs to one event loop; the routing view is updated only while `run` is running."""

    def __init__(
        self,
        reads: LedgerReads,
        view: RoutingView,
        credentials: InternalCredentials,
        gateway: str,
        routed: Callable[[], Awaitable[None]],
    ) -> None:
        """`routed` is awaited after each change of the routing view."""
        self._reads = reads
        self._view = view
        self._gateway = gateway
        self._routed = routed
        self._channels = Channels(credentials)
        self._metadata = self._channels.metadata
        self._address = ""
        # Jitter needs no seed: it exists to differ between gateways.
        self._rng = Random()

    async def run(self) -> None:
        """Follows the routing table until cancelled, across coordinator restarts and failovers."""
        pause = FIRST_PAUSE_S
        while True:
            age = self._view.table.age
            try:
                await self._follow(await self._locate())
            except (ClusterError, LedgerError, grpc.aio.AioRpcError, grpc.aio.UsageError) as error:
                log.debug("gateway %s: the routing stream ended: %s", self._gateway, error)
            if self._view.table.age != age:
                pause = FIRST_PAUSE_S
            await asyncio.sleep(pause)
            # At the start of a cluster both come up at the same time.
            pause = min(2 * pause, LONGEST_PAUSE_S if self._view.known else LONGEST_FIRST_PAUSE_S)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channels.close_all()

    async def write(self, wire: bytes, deadline: Deadline, repeatable: bool) -> coordinator_pb2.WriteResponse:
        """Commits a batch, a serialized WriteRequest; the write is durable when this returns.

        `repeatable`: a second attempt after one whose reply was lost changes nothing.
        """

        async def send(address: str) -> coordinator_pb2.WriteResponse:
            # Bytes, because a call keeps its request until it ends: a message would be there beside its bytes.
            write: grpc.aio.UnaryUnaryMultiCallable[bytes, coordinator_pb2.WriteResponse] = self._channels.get(
                address
            ).unary_unary(_WRITE, response_deserializer=coordinator_pb2.WriteResponse.FromString)
            return await call(write, wire, deadline, self._metadata, PEER)

        return await self._forward(send, deadline, repeatable)

    async def create_collection(self, request: coordinator_pb2.CreateCollectionRequest, deadline: Deadline) -> None:
        """Creates a collection; returns when it accepts writes."""
        await self._forward(self._sender(lambda stub: stub.CreateCollection, request, deadline), deadline)

    async def drop_collection(self, request: coordinator_pb2.DropCollectionRequest, deadline: Deadline) -> int:
        """Drops a collection; returns how many documents it had."""
        return (await self._forward(self._sender(lambda stub: stub.DropCollection, request, deadline), deadline)).documents

    async def retry_failed(self, request: coordinator_pb2.RetryFailedRequest, deadline: Deadline) -> int:
        """Retries failed documents; returns how many."""
        return (await self._forward(self._sender(lambda stub: stub.RetryFailed, request, deadline), deadline)).retried

    async def create_key(self, request: coordinator_pb2.CreateKeyRequest, deadline: Deadline) -> keys_pb2.CreateKeyResponse:
        """Creates an API key."""
        return (
            await self._forward(self._sender(lambda stub: stub.CreateKey, request, deadline), deadline, repeatable=False)
        ).response

    async def revoke_key(self, request: coordinator_pb2.RevokeKeyRequest, deadline: Deadline) -> keys_pb2.ApiKey:
        """Revokes an API key; returns it."""
        return (await self._forward(self._sender(lambda stub: stub.RevokeKey, request, deadline), deadline)).key

    async def retain_model(self, model: str, deadline: Deadline) -> None:
        """Marks a model as in use; returns when an encoder of it is ready."""
        request = coordinator_pb2.RetainModelRequest(model=model)
        await self._forward(self._sender(lambda stub: stub.RetainModel, request, deadline), deadline)

    async def _locate(self) -> str:
        lease = await self._reads.lease()
        if lease is None or not lease.address:
            raise Unavailable(f"{PEER} has not started yet", retry_after_ms=RETRY_AFTER_MS)
        if lease.address != self._address:
            self._address = lease.address
            await self._channels.keep({lease.address})
        return lease.address

    async def _follow(self, address: str) -> None:
        """Applies routing messages until the stream ends or the lease names another address."""
        stub = coordinator_pb2_grpc.CoordinatorServiceStub(self._channels.get(address))
        stream = stub.WatchRouting(coordinator_pb2.WatchRoutingRequest(gateway=self._gateway), metadata=self._metadata)
        reading = asyncio.create_task(self._apply_messages(stream))
        checking = asyncio.create_task(self._wait_until_moved(address))
        try:
            await asyncio.wait((reading, checking), return_when=asyncio.FIRST_COMPLETED)
            # A closed channel cancels the stream, which is just another way for it to end.
            if reading.done() and not reading.cancelled():
                reading.result()
        finally:
            reading.cancel()
            checking.cancel()
            self._view.following = False
            await asyncio.gather(reading, checking, return_exceptions=True)
            stream.cancel()

    async def _apply_messages(
        self,
        stream: grpc.aio.UnaryStreamCall[coordinator_pb2.WatchRoutingRequest, coordinator_pb2.WatchRoutingResponse],
    ) -> None:
        async for message in stream:
            self._view.following = True
            if self._view.offer(RoutingTable.from_message(message)):
                await self._routed()

    async def _wait_until_moved(self, address: str) -> None:
        # When the machine of the coordinator fails, its streams stay open, but its successor takes the lease.
        while True:
            await asyncio.sleep(LEASE_CHECK_S)
            with contextlib.suppress(ClusterError, LedgerError):
                if await self._locate() != address:
                    return

    async def _forward(
        self, send: Callable[[str], Awaitable[Response]], deadline: Deadline, repeatable: bool = True
    ) -> Response:
        """Makes a call with `send(address)`, and again while the coordinator cannot be reached, for at most BRIDGE_S.

        A call that is not repeatable is made again only if the lease names another address.
        """
        until = deadline.with_margin().earlier(Deadline.within(BRIDGE_S))
        pause = FIRST_RETRY_S
        address = self._address or await self._locate()
        while True:
            try:
                return await send(address)
            except Unavailable as error:
                failure = error
            before, address = address, await self._locate()
            patient = repeatable and isinstance(failure, Unreachable)
            if until.remaining_s <= pause or not (patient or address != before):
                raise Unavailable(failure.message, retry_after_ms=failure.retry_after_ms or RETRY_AFTER_MS) from failure
            if address == before:
                # Callers that were cut off together do not come back together.
                await asyncio.sleep(self._rng.uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_RETRY_S)
                address = await self._locate()

    def _sender(
        self,
        method: Callable[
            [coordinator_pb2_grpc.CoordinatorServiceAsyncStub], grpc.aio.UnaryUnaryMultiCallable[Request, Response]
        ],
        request: Request,
        deadline: Deadline,
    ) -> Callable[[str], Awaitable[Response]]:
        async def send(address: str) -> Response:
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(self._channels.get(address))
            return await call(method(stub), request, deadline, self._metadata, PEER)

        return send
