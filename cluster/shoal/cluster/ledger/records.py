"""The values that go into the ledger and come out of it: frozen, without SQL. Times are Unix times in milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from sys import getsizeof

from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.decisions.tokens.write_token import WriteToken
from shoal.workers.indexing import IndexSpec, SegmentInfo


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may write."""

    holder: str
    address: str
    """Where the holder serves its internal API, host:port."""
    epoch: int
    """Grows by one each time the lease is taken."""
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """The settings a user requested, with the server's defaults filled in."""

    model: str
    """Empty for a collection of vectors that users supply."""
    dimension: int
    index: str
    """"flat", "hnsw" or "ivf"."""
    metric: str
    """"cosine", "dot" or "l2"."""
    shards: int
    empty_text: str = "reject"
    """"reject" or "store"."""


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """One way of indexing a collection."""

    id: int
    """Unique across collections and never reused; segments and manifests carry this id."""
    collection_id: int
    collection: str
    """The collection's name."""
    number: int
    """Counts from 1 within the collection; this is what users see."""
    state: str
    """"active", "building" or "retired"."""
    model: str
    fingerprint: str
    """Empty without a model."""
    dimension: int
    index_kind: str
    metric: str
    shards: int

    @property
    def spec(self) -> IndexSpec:
        """How this generation's vectors are indexed."""
        return IndexSpec(self.index_kind, self.metric, self.dimension)


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection and the generation that answers its searches."""

    id: int
    name: str
    settings: CollectionSettings
    sequence: int
    """Sequence number of the newest write; tokens carry such numbers."""
    created_at_ms: int
    generation: GenerationRecord


@dataclass(frozen=True, slots=True)
class Dropped:
    """What remains to be cleaned up after a collection was dropped."""

    documents: int
    """How many documents it had, not counting deleted ones."""
    generation_ids: list[int]
    """Their shards may be released and their files removed."""


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """One caller's write: upserts first, then deletes."""

    collection: str
    upserts: Sequence[Incoming] = ()
    deletes: Sequence[str] = ()
    source: str = ""
    """Where the upserts come from; deletes are then of what this source no longer has. Empty: they have no source."""

    @property
    def bytes(self) -> int:
        """Memory of its texts, vectors, payloads and ids."""
        return sum(document.bytes for document in self.upserts) + sum(map(getsizeof, self.deletes))


@dataclass(frozen=True, slots=True)
class DocumentOutcome:
    """The result for one document of a batch."""

    id: str
    version: int
    """Its current version; 0 if it never existed."""
    changed: bool
    conflict_version: int | None = None
    """Set where expected_version was not met: the version it has, 0 where it does not exist."""


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """The result of one batch, in the order of the request."""

    collection_id: int
    sequence: int
    """Of this write; where nothing of it remains to be shown, of the newest one."""
    results: tuple[DocumentOutcome, ...]
    recorded: bool = True
    """Whether the write has a sequence number of its own, and a write set."""

    @property
    def token(self) -> WriteToken:
        """Names this write alone; no write, if everything of it is shown already."""
        return WriteToken.of(self.collection_id, *([self.sequence] if self.recorded else []))


@dataclass(frozen=True, slots=True)
class PendingDocument:
    """A document whose newest version a generation does not show yet."""

    id: str
    shard: int
    version: int
    """The version to apply."""
    sequence: int
    priority: int
    removal: bool
    """There is nothing to embed: the shard must forget it."""
    text: str
    """Empty for a removal."""
    vector: bytes
    """The user's own vector, packed little-endian float32; empty without one."""
    attempts: int


@dataclass(frozen=True, slots=True)
class Applied:
    """One document that a segment holds, as a vector or as a removal."""

    id: str
    version: int
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class SegmentCommit:
    """A segment file to add to its manifest, and what it holds."""

    generation_id: int
    shard: int
    segment: SegmentInfo
    applied: Sequence[Applied]


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt to embed one document that failed."""

    generation_id: int
    id: str
    version: int
    """The version that was tried; the failure does not count for a newer one."""
    error: str
    attempts: int
    """Attempts made so far, this one included."""
    next_attempt_at_ms: int
    failed: bool
    """Set the document aside until it is edited or retried."""


@dataclass(frozen=True, slots=True)
class ShardCut:
    """One shard at one moment."""

    number: int
    worker: str
    """Name of the index worker it is placed on; empty when it is not placed."""
    documents: int
    """Documents that should be searchable."""
    through: int
    """Ordinal of the newest committed segment; 0 when there is none."""
    pending_documents: int
    pending_removals: int
    failed: int
    damage_count: int = 0
    """How often files were taken out of its manifest, as of this moment; see ManifestInfo."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The state of a collection that a search rests on, read at one moment."""

    collection: CollectionRecord
    generation: GenerationRecord
    shards: list[ShardCut]
    pending: int
    """Documents and removals whose newest version is not committed; failed ones are not among them."""
    failed: int
    oldest_changed_at_ms: int | None
    """When the oldest pending change was acknowledged."""
    token_pending: bool
    """True while one of the awaited writes is not committed."""


@dataclass(frozen=True, slots=True)
class LiveDocument:
    """The data that validates a hit and fills it in."""

    version: int
    content_version: int
    """A vector of any other version is stale."""
    payload: str
    text: str | None
    """None unless requested."""
    deleted: bool
    truncated: bool


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document as its owner reads it back."""

    id: str
    text: str
    vector: bytes
    payload: str
    version: int
    changed_at_ms: int
    searchable: bool
    """True when the newest content answers searches."""


@dataclass(frozen=True, slots=True)
class GenerationExplanation:
    """The state of one document in one generation."""

    generation: GenerationRecord
    shard: int
    worker: str
    wanted_version: int
    embedded_version: int
    truncated: bool
    attempts: int
    error: str
    next_attempt_at_ms: int
    """0 when no attempt is due."""
    failed: bool


@dataclass(frozen=True, slots=True)
class ExplainRecord:
    """Everything the ledger knows about why a document is found or not."""

    id: str
    version: int
    wanted_version: int
    """The version at which text or vector last changed."""
    deleted: bool
    generations: list[GenerationExplanation] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FailedDocumentRecord:
    """A document that was set aside."""

    id: str
    version: int
    reason: str
    attempts: int
    failed_at_ms: int


@dataclass(frozen=True, slots=True)
class FailedDocuments:
    """The first of the documents that were set aside in the active generation, oldest first, and how many there are."""

    documents: list[FailedDocumentRecord]
    total: int
