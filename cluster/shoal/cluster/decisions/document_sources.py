"""Which sources, such as folders, have a document, as the writes of one transaction change it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class SourceChanges:
    """What the batches of one transaction change in the sources of one collection's documents, in their order."""

    stored: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Sources of documents before the transaction; needed for those that `remove` is asked about."""
    added: dict[str, set[str]] = field(default_factory=dict)
    cleared: set[str] = field(default_factory=set)
    """Documents without any source of before."""
    removed: set[tuple[str, str]] = field(default_factory=set)
    """Document and source, of before."""

    def add(self, document_id: str, source: str) -> None:
        """A document was written from a source."""
        self.added.setdefault(document_id, set()).add(source)

    def clear(self, document_id: str) -> None:
        """A document was deleted."""
        self.added.pop(document_id, None)
        self.cleared.add(document_id)

    def remove(self, document_id: str, source: str) -> bool:
        """A source no longer has a document; whether another source has it."""
        before = set[str]() if document_id in self.cleared else set(self.stored.get(document_id, ()))
        before -= {one for named, one in self.removed if named == document_id}
        added = self.added.get(document_id, set())
        if not (before | added) - {source}:
            return False
        added.discard(source)
        self.removed.add((document_id, source))
        return True
