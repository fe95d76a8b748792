"""One call to an internal service, with the secret, a deadline and errors in the cluster's own words; and how to persist."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from shoal.cluster.errors import DeadlineExceeded, Unavailable, from_rpc
from shoal.cluster.gateway.backends.deadlines import Deadline
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.rpc import calls

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
T = TypeVar("T")

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.25


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    deadline: Deadline,
    metadata: tuple[tuple[str, str], ...],
    peer: str,
    absent: frozenset[grpc.StatusCode] = frozenset(),
) -> Response:
    """The response of one call; raises the ClusterError that its failure means.

    `peer` says who is asked, for messages. A status in `absent` means that the peer is not where it was said to be, which
    is Unavailable. Cancelling the caller cancels the call.
    """
    try:
        return await calls.call(method, request, metadata, deadline.timeout_s)
    except grpc.aio.AioRpcError as error:
        if error.code() in absent:
            raise Unavailable(f"{peer}: {error.details()}") from error
        raise from_rpc(error, peer) from error


async def persist(
    attempt: Callable[[], Awaitable[T]], deadline: Deadline, view: RoutingView, peer: str, patience: Deadline | None = None
) -> T:
    """Tries until something other than Unavailable comes of it, with growing pauses that a new route cuts short.

    Raises the last Unavailable when `patience` (or else `deadline`) leaves no time for another try, and DeadlineExceeded
    naming `peer` when `deadline` passes while the first try is still under way.
    """
    until = deadline if patience is None else min(deadline, patience, key=lambda one: one.at)
    pause = FIRST_PAUSE_S
    failure: Unavailable | None = None
    try:
        async with asyncio.timeout_at(deadline.at):
            while True:
                try:
                    return await attempt()
                except Unavailable as error:
                    failure = error
                if until.remaining_s <= pause:
                    raise failure
                await view.change(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
    except TimeoutError:
        if failure is not None:
            raise failure from None
        raise DeadlineExceeded(f"{peer} did not answer in time") from None
