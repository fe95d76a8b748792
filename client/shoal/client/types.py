"""The arguments and results of the client: frozen dataclasses without protobuf objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

# Names with `as` have moved; programs may still import them from here.
from shoal.client.errors import FailedDocument as FailedDocument
from shoal.client.errors import Refusal as Refusal
from shoal.client.errors import Token as Token
from shoal.client.errors import UpsertSummary as UpsertSummary
from shoal.client.errors import WriteResult as WriteResult
from shoal.client.processes import LoadInfo as LoadInfo
from shoal.client.processes import ProcessInfo
from shoal.client.processes import WorkerInfo as WorkerInfo

if TYPE_CHECKING:
    import numpy.typing as npt

# In quotes: NumPy takes a third of the time that the command line needs to start, and is loaded with the first vector.
Vector: TypeAlias = "npt.NDArray[Any] | Sequence[float]"
IndexKind: TypeAlias = Literal["flat", "hnsw", "ivf"]
Metric: TypeAlias = Literal["cosine", "dot", "l2"]
EmptyText: TypeAlias = Literal["reject", "store"]
Role: TypeAlias = Literal["document", "query"]


# Comparing arrays gives arrays, so classes that hold one are compared by identity.
@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The vector of a document's text, computed earlier by the collection's model, as `shoal encode` does."""

    vector: Vector
    """Shape (dimension,), any float type; sent as float32."""
    fingerprint: str
    """Of the model; the document is refused unless the collection has the same fingerprint."""
    content_hash: bytes
    """Of the text that was embedded; the document is refused if its own text has another hash."""
    truncated: bool = False
    """True if the text is longer than the model reads."""


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A document to write: a text, a vector of the user's own, or both."""

    id: str
    text: str = ""
    vector: Vector | None = None
    """Shape (dimension,), any float type; sent as float32 and used in place of the model's vector."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """A JSON object."""
    expected_version: int | None = None
    """The write is refused unless the stored document has this version; 0: unless it is new. None: no condition."""
    embedding: Embedding | None = None
    """A vector computed earlier, so that the cluster need not embed the text. None: it does."""


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far an upload is. All counts are of documents since its start."""

    sent: int
    acknowledged: int
    """Answered by the server: written or refused."""
    refused: int
    latest_refusals: tuple[Refusal, ...]
    """Refusals since the last report."""
    settled: int = 0
    """Documents from the start of the iterable that are all answered; every refusal among them has been reported."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found."""

    id: str
    score: float
    """Higher is nearer, for every metric."""
    version: int
    payload: Mapping[str, Any]
    text: str
    """Empty unless the search asked for it."""
    truncated: bool
    """True if the text is longer than the model reads: the vector represents its beginning."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How complete and how fresh an answer is."""

    known: int
    """Documents of the collection."""
    reachable: int
    """Documents whose newest version was searched."""
    pending: int
    """Changed or deleted documents whose newest version the answer does not show yet."""
    lag_s: float
    """Age of the oldest such change."""
    failed: int
    generation: int
    shards: int
    shards_reached: int

    @property
    def complete(self) -> bool:
        """Whether every shard was searched."""
        return self.shards_reached == self.shards

    @property
    def fresh(self) -> bool:
        """Whether the answer shows every acknowledged change."""
        return self.pending == 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a search spent its time, measured by the server."""

    total_s: float
    encode_s: float
    shards_s: float


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Hit]):
    """The hits, nearest first, with the answer's coverage and timings."""

    hits: tuple[Hit, ...]
    coverage: Coverage
    timings: Timings

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as the server keeps it."""

    id: str
    text: str
    payload: Mapping[str, Any]
    version: int
    changed_at: datetime
    searchable: bool
    """Whether searches find the newest version."""


@dataclass(frozen=True, slots=True)
class GenerationState:
    """The state of a document in one generation of its collection."""

    generation: int
    active: bool
    fingerprint: str
    shard: int
    embedded_version: int | None
    truncated: bool
    served_version: int | None
    """The version that the shard's index worker serves; None if it serves none or did not answer."""
    worker_reached: bool
    """False if the shard's index worker did not answer, so `served_version` is unknown."""
    worker: str
    attempts: int
    last_error: str
    next_attempt_at: datetime | None
    failed: bool
    problem: str = ""
    """Why the model of this generation cannot embed texts now; empty while it is served or loading."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a search does or does not show the newest version of a document."""

    id: str
    version: int
    wanted_version: int
    """The version at which text or vector last changed: the version that searches should find."""
    deleted: bool
    generations: tuple[GenerationState, ...]


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard of a collection's active generation."""

    number: int
    worker: str
    """Name of the index worker that it is assigned to; empty until it is assigned."""
    address: str
    """Address of that worker while it serves the shard; otherwise empty."""
    ready: bool
    documents: int
    sealed_rows: int
    delta_rows: int
    segments: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection's settings and state."""

    name: str
    model: str
    """Empty if documents bring their own vectors."""
    dimension: int
    index: str
    metric: str
    empty_text: str
    generation: int
    fingerprint: str
    documents: int
    pending: int
    """Documents whose newest version is not searchable yet."""
    failed: int
    lag_s: float
    """Age of the oldest change that searches do not show yet; 0 if nothing is pending."""
    created_at: datetime
    shards: tuple[ShardInfo, ...]
    problem: str = ""
    """Why its model cannot embed texts now; empty while it is served or loading."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The server's limits on input."""

    message_bytes: int
    documents_per_write: int
    id_bytes: int
    text_bytes: int
    payload_bytes: int
    dimension: int
    k: int
    shards: int
    collection_name_bytes: int
    texts_per_embed: int
    ids_per_get: int
    failed_per_list: int
    prompt_characters: int


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The server's version and its limits on input."""

    version: str
    api: str
    python: str
    ray: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """The encoder replicas of one model."""

    model: str
    min_replicas: int
    max_replicas: int
    wanted: int
    """How many replicas the work needs now."""
    ready: int
    problem: str = ""
    """Why calls to the model are refused now; empty while it is served or loading."""


@dataclass(frozen=True, slots=True)
class QueryCacheInfo:
    """The gateway's cache of query vectors. Counts start at 0 with the gateway's process."""

    hits: int
    misses: int
    joined: int
    """Misses that shared an encoding of the same text that was already in progress."""
    entries: int
    bytes: int
    limit_bytes: int
    """0: the cache is off."""

    @property
    def hit_rate(self) -> float:
        """Share of lookups that needed no encoding of their own; 0 before the first lookup."""
        looked_up = self.hits + self.misses
        return (self.hits + self.joined) / looked_up if looked_up else 0.0


@dataclass(frozen=True, slots=True)
class ProblemInfo:
    """Something that keeps the cluster from working as it should."""

    part: str
    """"ledger", "storage" or "coordinator"."""
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The state of the cluster."""

    collections: tuple[CollectionInfo, ...]
    processes: tuple[ProcessInfo, ...]
    coordinator_epoch: int
    version: str
    query_cache: QueryCacheInfo
    pools: tuple[PoolInfo, ...] = ()
    problems: tuple[ProblemInfo, ...] = ()
    """Empty when all is well. While the ledger cannot be read, `collections` is empty and a problem says why."""
