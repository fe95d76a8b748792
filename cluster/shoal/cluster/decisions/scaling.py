"""How many replicas a model should have, and which ones to add or end. Pure: loads and times in, counts and numbers out.

More come at once when work piles up; fewer only when fewer would have sufficed for a long time, so the number never flaps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

KEEP_BUSY = 0.8
"""Replicas that are busier than this on average are not made fewer."""


@dataclass(frozen=True, slots=True)
class PoolBounds:
    """How many replicas a model may have."""

    least: int
    most: int

    def __post_init__(self) -> None:
        """Raises ValueError unless 1 <= least <= most."""
        if not 1 <= self.least <= self.most:
            raise ValueError(f"a pool of {self.least} to {self.most} replicas: must be at least 1, and most not below least")


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """When a pool grows and shrinks."""

    queue_s: float
    """Work that would take the replicas at hand longer than this brings more of them."""
    idle_s: float
    """How long fewer must have sufficed before there are fewer."""


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """What there is to do for one model now, and who is there for it."""

    waiting_tokens: float = 0.0
    """At the replicas and at the coordinator."""
    oldest_s: float = 0.0
    """How long the oldest text has waited at a replica."""
    refusals: int = 0
    """Calls that full replicas refused since the last look."""
    speed: float = 0.0
    """Tokens per second of one replica while it computes; 0 while nobody knows."""
    busy: float = 0.0
    """Replicas' worth of computing done lately: the sum of their busy shares."""
    ready: int = 0
    unplaced: int = 0
    """Replicas that wait for a place to run."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """What was decided, and the needs of the last `idle_s` that it rests on."""

    wanted: int
    needs: tuple[tuple[float, int], ...] = ()
    """(time in seconds, replicas needed then), times rising and needs falling: what a later, larger one covers is gone."""


def scale(state: PoolState, load: PoolLoad, bounds: PoolBounds, policy: ScalingPolicy, now_s: float) -> PoolState:
    """The state after one more look. `now_s` never falls."""
    need = max(bounds.least, min(bounds.most, _need(state, load, policy)))
    # At the first look what there is counts as needed: a coordinator that has just begun knows of no load yet.
    needs = state.needs or ((now_s, state.wanted),)
    kept = [(at_s, earlier) for at_s, earlier in needs if at_s > now_s - policy.idle_s and earlier > need]
    kept.append((now_s, need))
    return PoolState(max(bounds.least, min(bounds.most, kept[0][1])), tuple(kept))


def _need(state: PoolState, load: PoolLoad, policy: ScalingPolicy) -> int:
    need = 0
    if load.speed > 0:
        need = math.ceil(load.waiting_tokens / (load.speed * policy.queue_s))
    if load.refusals or load.oldest_s > policy.queue_s:
        # By how much is not known. One more than are ready: while that one starts, no further one is asked for.
        need = max(need, load.ready + 1)
    if load.unplaced:
        # The cluster is full: asking for still more would only lengthen the line.
        need = min(need, state.wanted)
    # Replicas that are busy without a queue are enough, but fewer would not be.
    return max(need, min(state.wanted, math.ceil(load.busy / KEEP_BUSY)))


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a pool, by its number."""

    number: int
    ready: bool
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """What brings a pool to the wanted size, as numbers of replicas."""

    add: tuple[int, ...] = ()
    revive: tuple[int, ...] = ()
    """Draining ones that are to work on."""
    drain: tuple[int, ...] = ()


def resize(replicas: Sequence[Replica], wanted: int) -> Resize:
    """Ends those that are not up first and then the youngest; brings back draining ones before new ones are started."""
    present = [one for one in replicas if not one.draining]
    if len(present) > wanted:
        surplus = sorted(present, key=lambda one: (one.ready, -one.number))[: len(present) - wanted]
        return Resize(drain=tuple(sorted(one.number for one in surplus)))
    missing = wanted - len(present)
    revive = sorted(one.number for one in replicas if one.draining and one.ready)[:missing]
    taken = {one.number for one in replicas}
    free = (number for number in range(len(taken) + missing) if number not in taken)
    add = [next(free) for _ in range(missing - len(revive))]
    return Resize(add=tuple(add), revive=tuple(revive))
