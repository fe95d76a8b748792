"""Room in the gateway's memory for one request and its reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from shoal.cluster.decisions.memory.byte_budget import MIB, BudgetLimits
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.byte_gate import ByteGate, Reservation

Request = TypeVar("Request")

_UNREAD_REPLIES = 64
"""Replies of the largest size that may wait."""


class GatewayMemory:
    """Bounds what all calls together hold: requests by one budget, replies by another.

    There are two because a request is held while its reply waits for room: with one budget, requests that fill it would
    wait for each other.
    """

    def __init__(self, limits: RequestLimits) -> None:
        waiting = max(limits.waiting_bytes, limits.message_bytes)
        self.requests = ByteGate(_budget(limits.requests_bytes, waiting), "requests to this gateway")
        # A reply that waits for room is not in memory yet.
        unread = _UNREAD_REPLIES * limits.message_bytes
        self.replies = ByteGate(_budget(limits.replies_bytes, unread), "replies of this gateway")

    async def admit(self, caller: str, size: int) -> Room:
        """Room for a request of `size` bytes; waits for it, and raises Overloaded when too many bytes wait already."""
        return Room(caller, await self.requests.admit(caller, size), self.replies)


class Room:
    """What one request and its reply hold; `free` ends it."""

    def __init__(self, caller: str, request: Reservation, replies: ByteGate) -> None:
        """`caller` is the connection that the request came from."""
        self._caller = caller
        self._request = request
        self._replies = replies
        self._reply: Reservation | None = None
        self._ended = False

    async def reserve_reply(self, size: int) -> None:
        """Waits for room for a reply of at most `size` bytes; raises Overloaded. A second call changes nothing."""
        if self._reply is None:
            reply = await self._replies.admit(self._caller, size)
            if self._ended:
                reply.release()
            self._reply = reply

    def shrink_reply(self, size: int) -> None:
        """The reply has only `size` bytes."""
        if self._reply is not None:
            self._reply.shrink(size)

    def free_request(self) -> None:
        """The request is no longer in memory."""
        self._request.release()

    def free(self) -> None:
        """Neither request nor reply is in memory."""
        self._ended = True
        self._request.release()
        if self._reply is not None:
            self._reply.release()


@dataclass(slots=True)
class ReceivedMessage(Generic[Request]):
    """A message of a stream and its room."""

    message: Request | None
    room: Room

    def take(self) -> Request:
        """The message, which is not kept here; once only."""
        message, self.message = self.message, None
        if message is None:
            raise RuntimeError("the message was taken before")
        return message


def _budget(total: int, waiting: int) -> BudgetLimits:
    share = total // 6
    return BudgetLimits(total=total, small=min(MIB, share), small_share=share, waiting=waiting)
