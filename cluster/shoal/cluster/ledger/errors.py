"""The errors of the ledger. Each message is one line that users may see.

LedgerError
├── CollectionExists
├── CollectionNotFound
├── DocumentNotFound
├── KeyNotFound
├── MalformedId
├── OrdinalTaken
├── ResultTooLarge
├── ShardNotFound
├── Deposed
├── LeaseHeld
└── LedgerUnreadable
"""


class LedgerError(Exception):
    """Base class of the errors that the ledger raises."""


class CollectionExists(LedgerError):
    """The name is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"collection {name!r} already exists")
        self.name = name


class CollectionNotFound(LedgerError):
    """No collection has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no collection is named {name!r}")
        self.name = name


class DocumentNotFound(LedgerError):
    """The collection has never held a document with this id."""

    def __init__(self, collection: str, document_id: str) -> None:
        super().__init__(f"collection {collection!r} has no document {document_id!r}")
        self.collection = collection
        self.document_id = document_id


class KeyNotFound(LedgerError):
    """No API key has this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"no API key has the id {id!r}")
        self.id = id


class MalformedId(LedgerError):
    """An id that not every database can store: PostgreSQL refuses NUL characters."""

    def __init__(self, document_id: str) -> None:
        super().__init__(f"document id {document_id[:80]!r} contains a NUL character")
        self.document_id = document_id


class OrdinalTaken(LedgerError):
    """The ordinal was already assigned to another segment; committing it would hide or reorder rows."""

    def __init__(self, generation_id: int, shard: int, ordinal: int, next_ordinal: int) -> None:
        super().__init__(
            f"generation {generation_id} shard {shard}: segment ordinal {ordinal} is taken, the next is {next_ordinal}"
        )


class ResultTooLarge(LedgerError):
    """The documents that were asked for are larger than the caller takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the documents have more than {limit} bytes, the limit is {limit}; request less at a time")
        self.limit = limit


class ShardNotFound(LedgerError):
    """The generation has no such shard, usually because its collection was dropped."""

    def __init__(self, generation_id: int, shard: int) -> None:
        super().__init__(f"generation {generation_id} shard {shard} does not exist")


class Deposed(LedgerError):
    """Another coordinator has taken the lease; this one may no longer write."""

    def __init__(self, epoch: int, current: int) -> None:
        super().__init__(f"this coordinator's epoch {epoch} has ended; the lease is at epoch {current}")
        self.epoch = epoch
        self.current = current


class LeaseHeld(LedgerError):
    """Another coordinator holds the lease and it has not expired."""

    def __init__(self, holder: str, address: str, expires_in_ms: int) -> None:
        super().__init__(f"the lease is held by {holder} at {address} for another {expires_in_ms} ms")
        self.holder = holder
        self.address = address
        self.expires_in_ms = expires_in_ms


class LedgerUnreadable(LedgerError):
    """The database cannot be opened, read or written, or was created by another version of Shoal."""

    def __init__(self, display_url: str, reason: str) -> None:
        super().__init__(f"ledger {display_url}: {reason}")
        self.display_url = display_url
        self.reason = reason

    @property
    def place_and_reason(self) -> str:
        """The message without the word "ledger"."""
        return f"{self.display_url}: {self.reason}"
