"""The answers of many shards become one list. Pure: who is asked, and whether a hit is still true, is decided elsewhere."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document as a shard found it."""

    id: str
    version: int
    """The content version that the vector was made of."""
    score: float


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """One shard's nearest rows, best first: by falling score, then by rising id."""

    hits: tuple[Candidate, ...]
    exhausted: bool
    """True when the shard has no row beyond these."""
    damage_count: int = 0
    """How often files had been taken out of the manifest that it answered from."""


def rank(candidate: Candidate) -> tuple[float, str]:
    """Sort key of a hit: falling score, then rising id."""
    return (-candidate.score, candidate.id)


def merge(lists: Iterable[Sequence[Candidate]], k: int | None = None) -> list[Candidate]:
    """The best `k` candidates (all, if None) of lists that are each in order of rank.

    Where an id occurs more than once its newest version stands, and of equal versions the better score.
    """
    whole = [hits for hits in lists if hits]
    newest: dict[str, int] = {}
    for hits in whole:
        for hit in hits:
            if newest.get(hit.id, -1) < hit.version:
                newest[hit.id] = hit.version
    merged: list[Candidate] = []
    taken: set[str] = set()
    for hit in heapq.merge(*whole, key=rank):
        if k is not None and len(merged) >= k:
            break
        if hit.version == newest[hit.id] and hit.id not in taken:
            taken.add(hit.id)
            merged.append(hit)
    return merged


def settled(answers: Iterable[ShardAnswer]) -> list[Candidate]:
    """The merged candidates that no row still unseen can come before, best first.

    A shard that is not exhausted may hold rows right after its last one, so nothing beyond that one is settled. When
    every shard gave k rows or all it has, at least the k best (or all) are settled.
    """
    known = list(answers)
    tails = [rank(answer.hits[-1]) for answer in known if answer.hits and not answer.exhausted]
    merged = merge(answer.hits for answer in known)
    if not tails:
        return merged
    horizon = min(tails)
    return [hit for hit in merged if rank(hit) <= horizon]
