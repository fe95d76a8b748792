"""Which model gives its place to one that has none. Pure: the models and what they hold come in, what to end goes out.

All replicas need the same resources, so the place that one frees fits any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_NAMED = 3
"""How many models a refusal names."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A model that has replicas, or waits for its first one."""

    model: str
    placed: int = 0
    """Replicas that have resources."""
    waiting: int = 0
    """Replicas that wait for resources."""
    collection: bool = False
    """A collection needs it."""
    callers: int = 0
    """Calls that wait until it is loaded."""
    busy: bool = False
    """Texts wait at its replicas."""
    served: bool = False
    """It has been ready."""
    used_s: float = 0.0
    """When it was last used."""
    granted: bool = False
    """A place is being freed for it, or was a moment ago."""

    @property
    def claims(self) -> bool:
        """It needs a place: none of its replicas has one."""
        return self.waiting > 0 and not self.placed


@dataclass(frozen=True, slots=True)
class Moves:
    """What to do so that models get places."""

    evict: tuple[tuple[str, str], ...] = ()
    """(model that gets the place, model that gives it)."""
    withdraw: tuple[str, ...] = ()
    """Models that nobody waits for, whose turn goes to others."""
    refused: dict[str, str] = field(default_factory=dict)
    """Models for which there is no place, and who holds the places: calls to them end at once."""


def make_room(tenants: Sequence[Tenant], leaving: int) -> Moves:
    """Gives each model without a place the one of the model idle longest. `leaving` replicas are ending already.

    Only a model that no collection needs, that has no work and that no call waits for gives way; one that never was ready
    goes first. Collections' models get places before models that were only embedded with, the longest waiting first.
    """
    claims = sorted(
        (one for one in tenants if one.claims), key=lambda one: (not one.collection, not one.callers, one.used_s, one.model)
    )
    pressing = [one for one in claims if one.collection or one.callers]
    # Nobody waits for these: they may have what is left over.
    patient = [one.model for one in claims if not one.collection and not one.callers]
    spare = sorted(
        (one for one in tenants if one.placed and not (one.collection or one.busy or one.callers or one.granted)),
        key=lambda one: (one.served, one.used_s, one.model),
    )
    evict: list[tuple[str, str]] = []
    leaving = max(0, leaving - sum(claim.granted for claim in claims))
    refused: dict[str, str] = {}
    for claim in pressing:
        if claim.granted:
            continue
        if leaving > 0:
            leaving -= 1
        elif spare:
            gives = spare.pop(0)
            evict.append((claim.model, gives.model))
            leaving += gives.placed - 1
        else:
            refused[claim.model] = held_by(tenants, {gives: taker for taker, gives in evict})
    return Moves(tuple(evict), tuple(patient) if pressing else (), refused)


def held_by(tenants: Sequence[Tenant], given: Mapping[str, str]) -> str:
    """Which models hold places, and why none gives way; the start of a list if it is long. Empty if none holds any.

    `given` has the models that give their place, and to whom.
    """
    holders = sorted((one for one in tenants if one.placed), key=lambda one: (not one.collection, one.model))
    if not holders:
        return ""
    named = [f"{one.model!r} ({_claim_on(one, given.get(one.model))})" for one in holders[:_NAMED]]
    more = len(holders) - len(named)
    return "held by " + ", ".join(named) + (f" and {more} more" if more else "")


def _claim_on(one: Tenant, taker: str | None) -> str:
    if taker is not None:
        return f"its place goes to {taker!r}"
    if one.collection:
        return "of a collection"
    return "busy" if one.busy else "being loaded"
