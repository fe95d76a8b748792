"""What a write does to a document. Pure: the stored state comes in, a decision goes out, which the ledger carries out."""

import hashlib
from dataclasses import dataclass
from sys import getsizeof

PRIORITY_REMOVAL = 0
"""Cheap, and a deleted document should disappear soon."""
PRIORITY_EDIT = 1
"""The vector that searches see is out of date."""
PRIORITY_NEW = 2
PRIORITY_BACKFILL = 3
"""Work that no user waits for: new generations, and repairs."""
PRIORITIES = (PRIORITY_REMOVAL, PRIORITY_EDIT, PRIORITY_NEW, PRIORITY_BACKFILL)


@dataclass(frozen=True, slots=True)
class Precomputed:
    """A vector that came with the text. It is never stored: if it is lost, the text is embedded instead."""

    vector: bytes
    """Packed little-endian float32."""
    fingerprint: str
    """Of the model that computed it."""
    content_hash: bytes
    """`content_hash` of the text it was computed from, without a vector."""
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Incoming:
    """A document as the user sent it; already validated."""

    id: str
    text: str
    vector: bytes = b""
    """The user's own vector, packed little-endian float32; empty without one."""
    payload: str = "{}"
    """A canonical JSON object."""
    expected_version: int | None = None
    """Refuse the write unless this version is stored; 0 means that the document must not exist."""
    precomputed: Precomputed | None = None
    """Saves the encoder the work; has no influence on the decision."""

    @property
    def bytes(self) -> int:
        """Memory of its parts."""
        came_with = len(self.precomputed.vector) if self.precomputed is not None else 0
        return sum(map(getsizeof, (self.id, self.text, self.vector, self.payload))) + came_with


@dataclass(frozen=True, slots=True)
class Stored:
    """What the ledger knows about a document, without its text."""

    version: int
    content_version: int
    content_hash: bytes
    payload: str
    deleted: bool
    embedded: bool
    """Searches find some version of it now."""


def is_live(priority: int) -> bool:
    """Whether the change is of a document that searches found: until it is applied, they lack the document."""
    return priority <= PRIORITY_EDIT


@dataclass(frozen=True, slots=True)
class Admitted:
    """The document changes."""

    version: int
    content_version: int
    """Equal to `version` when text or vector changed, and for a delete."""
    removal: bool
    """Shards must remove it: it is deleted, or has nothing to embed."""
    priority: int

    @property
    def content_changed(self) -> bool:
        """True when shards must follow. A payload is read from the ledger when a search is answered."""
        return self.version == self.content_version


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The document already has this content, so a repeated write costs nothing and gets the same answer."""

    version: int
    """0 for a delete of a document that never existed."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The stored version is not the expected one."""

    version: int
    """The version that is stored; 0 when the document does not exist."""


def content_hash(text: str, vector: bytes) -> bytes:
    """A digest of 32 bytes over text and vector, each preceded by its length."""
    encoded = text.encode()
    digest = hashlib.blake2b(digest_size=32)
    digest.update(len(encoded).to_bytes(8, "little"))
    digest.update(encoded)
    digest.update(len(vector).to_bytes(8, "little"))
    digest.update(vector)
    return digest.digest()


def admit_upsert(stored: Stored | None, incoming: Incoming, incoming_hash: bytes) -> Admitted | Unchanged | Conflict:
    """Decides an upsert. `incoming_hash` is `content_hash` over the incoming text and vector.

    The expected version is checked first. So a conditional write that is repeated after it succeeded is a Conflict:
    otherwise two callers who race to create the same content would both succeed.
    """
    exists = stored is not None and not stored.deleted
    current = stored.version if stored is not None and exists else 0
    if incoming.expected_version is not None and incoming.expected_version != current:
        return Conflict(current)
    nothing_to_embed = not incoming.text and not incoming.vector
    if stored is None or stored.deleted:
        version = stored.version + 1 if stored is not None else 1
        return Admitted(version, version, nothing_to_embed, PRIORITY_REMOVAL if nothing_to_embed else PRIORITY_NEW)
    same_content = stored.content_hash == incoming_hash
    if same_content and stored.payload == incoming.payload:
        return Unchanged(stored.version)
    version = stored.version + 1
    if nothing_to_embed:
        priority = PRIORITY_REMOVAL
    else:
        priority = PRIORITY_EDIT if stored.embedded else PRIORITY_NEW
    return Admitted(version, stored.content_version if same_content else version, nothing_to_embed, priority)


def admit_delete(stored: Stored | None) -> Admitted | Unchanged:
    """Decides a delete; deleting what does not exist changes nothing."""
    if stored is None:
        return Unchanged(0)
    if stored.deleted:
        return Unchanged(stored.version)
    version = stored.version + 1
    return Admitted(version, version, True, PRIORITY_REMOVAL)
