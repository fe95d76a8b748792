"""Waits on an event loop for what the byte budget decides."""

from __future__ import annotations

import asyncio
from types import TracebackType

from shoal.cluster.decisions.memory.byte_budget import BudgetLimits, ByteBudget, Verdict
from shoal.cluster.errors import Overloaded

RETRY_AFTER_MS = 500


class Reservation:
    """Room for one message, until `release` or the end of the `with` block. A second release does nothing."""

    __slots__ = ("_gate", "_ticket", "size")

    def __init__(self, gate: ByteGate, ticket: int, size: int) -> None:
        self._gate = gate
        self._ticket = ticket
        self.size = size

    def shrink(self, size: int) -> None:
        """Gives back all but `size` bytes; keeps everything if the message turned out to be larger."""
        if size < self.size:
            self.size = size
            self._gate.shrink(self._ticket, size)

    def release(self) -> None:
        """Gives everything back."""
        self.size = 0
        self._gate.free(self._ticket)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class ByteGate:
    """Belongs to one event loop."""

    def __init__(self, limits: BudgetLimits, messages: str) -> None:
        """`messages` says in errors what is counted, such as "requests to this gateway"."""
        self.budget = ByteBudget(limits)
        self._messages = messages
        self._tickets = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def admit(self, caller: str, size: int) -> Reservation:
        """Waits until there is room for a message; raises Overloaded when too many bytes wait already."""
        self._tickets += 1
        ticket = self._tickets
        verdict = self.budget.ask(ticket, caller, size)
        if verdict is Verdict.REFUSED:
            limit = self.budget.limits.waiting
            raise Overloaded(
                f"{self.budget.waiting} bytes of {self._messages} wait, and {size} more would pass the limit of {limit}",
                value=str(size),
                limit=limit,
                retry_after_ms=RETRY_AFTER_MS,
            )
        if verdict is Verdict.WAITING:
            turn = self._waiting[ticket] = asyncio.get_running_loop().create_future()
            try:
                await turn
            except asyncio.CancelledError:
                # Perhaps it was admitted at the same moment.
                self.free(ticket)
                raise
            finally:
                self._waiting.pop(ticket, None)
        return Reservation(self, ticket, size)

    def shrink(self, ticket: int, size: int) -> None:
        """See ByteBudget."""
        self._wake(self.budget.shrink(ticket, size))

    def free(self, ticket: int) -> None:
        """See ByteBudget."""
        self._wake(self.budget.free(ticket))

    def _wake(self, admitted: list[int]) -> None:
        for ticket in admitted:
            turn = self._waiting.get(ticket)
            if turn is not None and not turn.done():
                turn.set_result(None)
