"""Decides when searches show the writes of a token. Pure: the ledger's records come in, what is still missing goes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shoal.cluster.decisions.tokens.write_token import WriteToken

HELD_DOCUMENTS = 4096
"""Documents that are waited for at a time; a write is read as a whole, so there may be one write more."""


@dataclass(frozen=True, slots=True)
class WriteSet:
    """What one write changed, or found changed by an earlier write and not shown yet."""

    sequence: int
    documents: tuple[tuple[str, int], ...]
    """Id and content version of each."""


@dataclass(frozen=True, slots=True)
class ShownState:
    """How far one document is in the generation that answers searches."""

    embedded_version: int
    """The newest version that a committed segment holds."""
    shard: int
    ordinal: int
    """The segment that holds it."""
    failed: bool = False
    """The newest version was set aside: it will not be shown unless someone retries it."""


@dataclass(slots=True)
class AwaitedWrites:
    """The writes of a token, as they become visible. Waits for nothing else, however much is pending.

    A document counts as settled when its version of the token, or a newer one, is in a committed segment, or when it has
    failed for good. Read the write sets `from_sequence` on, and the states of `documents`, until `settled`.
    """

    token: WriteToken
    documents: dict[str, int] = field(default_factory=dict)
    """Documents that are waited for, with the version that is needed."""
    failed: dict[str, int] = field(default_factory=dict)
    """The first HELD_DOCUMENTS that failed for good, with the version that was needed."""
    failed_total: int = 0
    """How many failed for good."""
    ordinals: dict[int, int] = field(default_factory=dict)
    """By shard: the newest segment that a search must reach to see the settled documents."""
    forgotten: int = 0
    """The newest write whose set the ledger no longer has; 0 if there is none."""
    all_shards: bool = False
    """The segments of some documents are not known, so a search must reach all that is committed."""
    _next: int = 0
    """Write sets below this sequence number have been read."""

    def __post_init__(self) -> None:
        self.all_shards = self.token.through > 0
        self._next = self.token.ranges[0][0] if self.token.ranges else 0

    @property
    def unread(self) -> tuple[tuple[int, int], ...]:
        """Ranges of writes whose sets are not read yet, ascending."""
        return tuple((max(first, self._next), last) for first, last in self.token.ranges if last >= self._next)

    @property
    def wants_sets(self) -> bool:
        """Whether more write sets should be read now."""
        return bool(self.unread) and len(self.documents) < HELD_DOCUMENTS

    @property
    def settled(self) -> bool:
        """Whether nothing is waited for any more."""
        return not self.documents and not self.unread

    @property
    def pending(self) -> int:
        """0 when `settled`; otherwise how many documents are waited for now, and how many writes are not read yet."""
        return len(self.documents) + sum(last - first + 1 for first, last in self.unread)

    def take_sets(self, sets: Iterable[WriteSet], through: int) -> None:
        """Takes the sets of all unread writes up to `through`, as far as the ledger has them.

        The ledger forgets the set of a write some time after its documents were settled.
        """
        found = {one.sequence: one for one in sets}
        missing = self.forgotten
        for first, last in self.unread:
            last = min(last, through)
            present = sum(first <= sequence <= last for sequence in found)
            if first <= last and present < last - first + 1:
                missing = max(missing, next(one for one in range(last, first - 1, -1) if one not in found))
        self.forgotten = missing
        self.all_shards = self.all_shards or missing > 0
        for one in found.values():
            for document_id, version in one.documents:
                self.documents[document_id] = max(version, self.documents.get(document_id, 0))
        self._next = through + 1

    def take_states(self, states: Mapping[str, ShownState]) -> None:
        """Takes the states of `documents`. One without a state is not in the generation, so no search can show it."""
        for document_id, version in list(self.documents.items()):
            state = states.get(document_id)
            if state is None:
                del self.documents[document_id]
            elif state.embedded_version >= version:
                del self.documents[document_id]
                self.failed_total -= self.failed.pop(document_id, 0) > 0
                self.ordinals[state.shard] = max(state.ordinal, self.ordinals.get(state.shard, 0))
            elif state.failed:
                del self.documents[document_id]
                self.failed_total += document_id not in self.failed
                if len(self.failed) < HELD_DOCUMENTS:
                    self.failed[document_id] = version
