"""Which waiting texts an encoder takes next. Pure: no thread, no clock, no text; the engine acts on what is said here."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from shoal.workers.encoding.model import Role


class QueueFull(Exception):
    """The queue holds as much as it may; the message names what is full and the limit."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What may wait, for each role apart, so that a backlog of documents never turns a query away."""

    tokens: int = 131_072
    characters: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """One call that waits. `costs` are the tokens of its items; the queue serves them in the order given."""

    id: int
    role: Role
    costs: Sequence[int]
    characters: int
    deadline: float = math.inf
    """Time, on the clock of `drop_expired`, after which nobody waits for the answer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Items `start` to `stop` (exclusive) of a request."""

    id: int
    start: int
    stop: int


@dataclass(slots=True)
class _Waiting:
    request: QueuedRequest
    tokens: int
    """Cost of the items not yet taken."""
    taken: int = 0


@dataclass(slots=True)
class _Lane:
    """The requests of one role, first come first served."""

    waiting: OrderedDict[int, _Waiting] = field(default_factory=OrderedDict)
    tokens: int = 0
    characters: int = 0

    def add(self, request: QueuedRequest, limits: QueueLimits) -> None:
        cost = sum(request.costs)
        # A request above a limit must be served too, so an idle lane takes anything.
        if self.waiting:
            for what, used, more, limit in (
                ("tokens", self.tokens, cost, limits.tokens),
                ("characters", self.characters, request.characters, limits.characters),
            ):
                if used + more > limit:
                    role = request.role.value
                    raise QueueFull(f"{role} queue holds {used} {what}; {more} more would pass its limit of {limit}")
        self.waiting[request.id] = _Waiting(request, cost)
        self.tokens += cost
        self.characters += request.characters

    def remove(self, request_id: int) -> bool:
        entry = self.waiting.pop(request_id, None)
        if entry is None:
            return False
        self.tokens -= entry.tokens
        self.characters -= entry.request.characters
        return True

    def take(self, budget: int) -> list[Piece]:
        pieces: list[Piece] = []
        while self.waiting:
            entry = next(iter(self.waiting.values()))
            costs = entry.request.costs
            start = stop = entry.taken
            spent = 0
            while stop < len(costs) and (costs[stop] <= budget - spent or (not pieces and stop == start)):
                spent += costs[stop]
                stop += 1
            if stop == start:
                break
            pieces.append(Piece(entry.request.id, start, stop))
            budget -= spent
            entry.taken = stop
            entry.tokens -= spent
            self.tokens -= spent
            if stop < len(costs):
                break
            self.remove(entry.request.id)
        return pieces


class RequestQueue:
    """Queries before documents, first come first served within a role, served in slices of a token budget."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._lanes = {Role.QUERY: _Lane(), Role.DOCUMENT: _Lane()}

    def __len__(self) -> int:
        """Requests with items that were not taken."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def tokens(self, role: Role) -> int:
        """Tokens of `role` that wait."""
        return self._lanes[role].tokens

    def add(self, request: QueuedRequest) -> None:
        """Lets a request wait. Raises QueueFull, ValueError when it has no items or its id already waits."""
        if not request.costs:
            raise ValueError(f"request {request.id} has no items")
        if any(request.id in lane.waiting for lane in self._lanes.values()):
            raise ValueError(f"request {request.id} already waits")
        self._lanes[request.role].add(request, self._limits)

    def drop(self, request_id: int) -> bool:
        """Forgets a cancelled request; False when it did not wait."""
        return any(lane.remove(request_id) for lane in self._lanes.values())

    def drop_expired(self, now: float) -> list[int]:
        """Forgets each request whose deadline is not after `now`; returns their ids."""
        waiting = [entry.request for lane in self._lanes.values() for entry in lane.waiting.values()]
        expired = [request.id for request in waiting if request.deadline <= now]
        for request_id in expired:
            self.drop(request_id)
        return expired

    def take(self, token_budget: int) -> tuple[Role, list[Piece]] | None:
        """The next slice: pieces of one role that cost at most `token_budget`, or one item that alone costs more.

        None when nothing waits. What is taken no longer counts against the limits, except a request's characters:
        those count until its last item is taken.
        """
        for role, lane in self._lanes.items():
            if lane.waiting:
                return role, lane.take(token_budget)
        return None
