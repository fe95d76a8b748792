"""How many replicas a model should have, and which ones to add or end. Pure: loads and times in, counts and indices out.

A pool grows at once when work piles up, and shrinks only when fewer replicas have sufficed for a while, so it never flaps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

KEEP_BUSY = 0.8
"""A pool is not shrunk to where its replicas would be busier than this on average."""


@dataclass(frozen=True, slots=True)
class PoolBounds:
    """How many replicas a model may have."""

    least: int
    most: int

    def __post_init__(self) -> None:
        """Raises ValueError unless 1 <= least <= most."""
        if not 1 <= self.least <= self.most:
            raise ValueError(
                f"a pool of {self.least} to {self.most} replicas: must be at least 1, and the maximum not below the minimum"
            )


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """When a pool grows and shrinks."""

    queue_s: float
    """The pool grows when its replicas would need longer than this for the work that waits."""
    idle_s: float
    """The pool shrinks when fewer replicas have sufficed for this long."""


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """The work that waits for one model, and the replicas that serve it."""

    waiting_tokens: float = 0.0
    """At the replicas and in the ledger."""
    oldest_s: float = 0.0
    """How long the oldest text has waited at a replica."""
    refusals: int = 0
    """Calls that full replicas refused since the last decision."""
    speed: float = 0.0
    """Tokens per second of one replica while it computes; 0 if not known yet."""
    busy: float = 0.0
    """The sum of the shares of time in which replicas computed lately: 1.5 is one and a half replicas."""
    ready: int = 0
    unplaced: int = 0
    """Replicas that wait for resources."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """The size that was decided, and the needs of the last `idle_s` behind it."""

    wanted: int
    needs: tuple[tuple[float, int], ...] = ()
    """(time in seconds, replicas needed then): times rise and needs fall, as a larger need removes earlier, smaller ones."""


def scale(state: PoolState, load: PoolLoad, bounds: PoolBounds, policy: ScalingPolicy, now_s: float) -> PoolState:
    """The state after one more decision. `now_s` never falls."""
    need = max(bounds.least, min(bounds.most, _need(state, load, policy)))
    # At first the replicas that exist count as needed: a coordinator that has just started knows no load yet.
    needs = state.needs or ((now_s, state.wanted),)
    kept = [(at_s, earlier) for at_s, earlier in needs if at_s > now_s - policy.idle_s and earlier > need]
    kept.append((now_s, need))
    return PoolState(max(bounds.least, min(bounds.most, kept[0][1])), tuple(kept))


def _need(state: PoolState, load: PoolLoad, policy: ScalingPolicy) -> int:
    need = 0
    if load.speed > 0:
        need = math.ceil(load.waiting_tokens / (load.speed * policy.queue_s))
    if load.refusals or load.oldest_s > policy.queue_s:
        # How many are missing is not known. One more than are ready: while that one starts, no other is requested.
        need = max(need, load.ready + 1)
    if load.unplaced:
        # The cluster is full: requesting more would only lengthen the queue for resources.
        need = min(need, state.wanted)
    # Replicas that are busy without a queue are enough, but fewer would not be.
    return max(need, min(state.wanted, math.ceil(load.busy / KEEP_BUSY)))


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a pool."""

    index: int
    """From 0, within the pool."""
    ready: bool
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """The replicas to start, revive and drain to reach the wanted size, by index."""

    add: tuple[int, ...] = ()
    revive: tuple[int, ...] = ()
    """Draining ones that get work again."""
    drain: tuple[int, ...] = ()


def resize(replicas: Sequence[Replica], wanted: int) -> Resize:
    """Drains replicas that are not ready first, then those of the highest index. Revives draining ones before adding any."""
    present = [one for one in replicas if not one.draining]
    if len(present) > wanted:
        surplus = sorted(present, key=lambda one: (one.ready, -one.index))[: len(present) - wanted]
        return Resize(drain=tuple(sorted(one.index for one in surplus)))
    missing = wanted - len(present)
    revive = sorted(one.index for one in replicas if one.draining and one.ready)[:missing]
    taken = {one.index for one in replicas}
    free = (index for index in range(len(taken) + missing) if index not in taken)
    add = [next(free) for _ in range(missing - len(revive))]
    return Resize(add=tuple(add), revive=tuple(revive))
