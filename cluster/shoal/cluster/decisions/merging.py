"""Merges the answers of many shards into one list. Pure: hits are validated against the ledger elsewhere."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document as a shard returned it."""

    id: str
    version: int
    """The content version of the vector."""
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

    If an id occurs more than once, its newest version is kept, and of equal versions the better score.
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
    """The merged candidates that rank before every row not returned yet, best first.

    A shard that is not exhausted may hold rows right after its last one, so nothing beyond that one is settled. If every
    shard returned k rows or all it has, at least the k best (or all) are settled.
    """
    known = list(answers)
    tails = [rank(answer.hits[-1]) for answer in known if answer.hits and not answer.exhausted]
    merged = merge(answer.hits for answer in known)
    if not tails:
        return merged
    horizon = min(tails)
    return [hit for hit in merged if rank(hit) <= horizon]
