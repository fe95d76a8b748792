"""The handling of public calls that all transports share: counts, deadlines, reply size, errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from shoal.cluster.errors import ClusterError, DeadlineExceeded, InternalDefect, from_ledger, shortened
from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.gateway.paths.validation import check_reply_size
from shoal.cluster.ledger.errors import LedgerError

log = logging.getLogger(__name__)

Reply = TypeVar("Reply", bound=Message)


class CallsInFlight:
    """Counts public calls, so that a drain knows when the last one has ended. Belongs to one event loop."""

    def __init__(self, counts: GatewayCounts) -> None:
        self._counts = counts
        self._none = asyncio.Event()
        self._none.set()

    def add(self) -> None:
        """A call has begun."""
        self._counts.in_flight += 1
        self._none.clear()

    def remove(self) -> None:
        """A call has ended."""
        self._counts.in_flight -= 1
        if not self._counts.in_flight:
            self._none.set()

    async def end(self) -> None:
        """Returns when no call is in flight."""
        await self._none.wait()


def as_cluster_error(error: Exception, method: str) -> ClusterError:
    """The error that the caller gets; an unexpected one is logged with its traceback."""
    if isinstance(error, ClusterError):
        return error
    if isinstance(error, LedgerError):
        return from_ledger(error)
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(f"{method.rpartition('/')[2]} did not finish before its deadline")
    log.error("%s failed", method, exc_info=error)
    return InternalDefect(f"internal error: {type(error).__name__}: {shortened(error)}")


class PublicCalls:
    """Begins public calls; belongs to one event loop."""

    def __init__(self, counts: GatewayCounts, default_deadline_s: float, reply_bytes: int) -> None:
        """`default_deadline_s` is for calls without a deadline, `reply_bytes` the largest reply."""
        self.in_flight = CallsInFlight(counts)
        self.counts = counts
        self.default_deadline_s = default_deadline_s
        self.reply_bytes = reply_bytes

    def begin(self, method: str) -> PublicCall:
        """A call of `method`, as "/package.Service/Method"; it lasts as long as its `with` block."""
        return PublicCall(self, method)


class PublicCall:
    """One public call, counted as CANCELLED unless it succeeds or fails before its `with` block ends."""

    __slots__ = ("_began", "_calls", "_method", "_status")

    def __init__(self, calls: PublicCalls, method: str) -> None:
        self._calls = calls
        self._method = method
        self._status = "CANCELLED"
        self._began = time.perf_counter()

    def __enter__(self) -> PublicCall:
        self._calls.in_flight.add()
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.counts.ended(self._method.rpartition("/")[2], self._status, time.perf_counter() - self._began)
        self._calls.in_flight.remove()

    async def answer(self, work: Callable[[], Awaitable[Reply]], remaining_s: float | None) -> Reply:
        """Returns the reply of `work`, within the caller's deadline or the default one.

        Raises TimeoutError when the deadline passes, MessageTooLarge for a reply above the limit, and what `work` raises.
        """
        within_s = self._calls.default_deadline_s if remaining_s is None else remaining_s
        if within_s <= 0:
            raise TimeoutError
        async with asyncio.timeout(within_s):
            reply = await work()
        check_reply_size(reply.ByteSize(), self._calls.reply_bytes, "request less at a time")
        self.succeed()
        return reply

    def succeed(self) -> None:
        """Marks the call as successful."""
        self._status = "OK"

    def fail(self, error: Exception) -> ClusterError:
        """Marks the call as failed; returns the error that the caller gets."""
        refusal = as_cluster_error(error, self._method)
        self._status = refusal.status.name
        return refusal
