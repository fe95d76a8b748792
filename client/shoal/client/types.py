"""What callers give to the client and get back from it: frozen dataclasses, and no protobuf object among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, overload

import numpy.typing as npt

# Names with `as` were here before they moved; programs may import them from here.
from shoal.client.errors import ShoalError
from shoal.client.errors import Token as Token
from shoal.client.errors import WriteResult as WriteResult
from shoal.client.processes import LoadInfo as LoadInfo
from shoal.client.processes import ProcessInfo
from shoal.client.processes import WorkerInfo as WorkerInfo

Vector: TypeAlias = npt.NDArray[Any] | Sequence[float]
IndexKind: TypeAlias = Literal["flat", "hnsw", "ivf"]
Metric: TypeAlias = Literal["cosine", "dot", "l2"]
EmptyText: TypeAlias = Literal["reject", "store"]
Role: TypeAlias = Literal["document", "query"]


# Arrays do not compare to one truth value, so neither do the classes that hold one.
@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The vector of a document's text, made before by the collection's model, as `shoal encode` does."""

    vector: Vector
    """Shape (dimension,), any float type; sent as float32."""
    fingerprint: str
    """Of the model; the document is refused unless it is the collection's."""
    content_hash: bytes
    """Of the text that the vector is of; the document is refused unless that is its text."""
    truncated: bool = False
    """The text is longer than the model reads."""


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
    """The write is refused unless the stored version is this one; 0 asks for a new document. None: no condition."""
    embedding: Embedding | None = None
    """Spares the cluster making the vector of the text. None: it makes it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document of an upload that was refused, by the server or before it was sent."""

    position: int
    """Place in the iterable, from 0."""
    id: str
    error: ShoalError


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far an upload is. Every count is of documents since its start."""

    sent: int
    acknowledged: int
    """Answered by the server: committed or refused."""
    refused: int
    latest_refusals: tuple[Refusal, ...]
    """Those since the last call."""


@dataclass(frozen=True, slots=True)
class UpsertSummary:
    """What became of an upload."""

    documents: int
    changed: int
    """Documents that were new or differed from what was stored; not those that were so at a second attempt."""
    refused: int
    refusals: tuple[Refusal, ...]
    """The first thousand of them."""
    token: Token | None
    """Of the last batch, so of the whole upload; None when nothing was written."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One document of an answer."""

    id: str
    score: float
    """Higher is nearer, whatever the metric."""
    version: int
    payload: Mapping[str, Any]
    text: str
    """Empty unless the search asked for it."""
    truncated: bool
    """The text was longer than the model takes: the vector stands for its beginning."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What an answer rests on."""

    known: int
    """Documents of the collection."""
    reachable: int
    """Documents that were searched in their newest version."""
    pending: int
    """Changed documents, deleted ones included, whose newest version the answer does not show yet."""
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
    """Where a search spent its time, as measured by the server."""

    total_s: float
    encode_s: float
    shards_s: float


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Hit]):
    """The hits, nearest first, and how far they can be trusted."""

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
    """Whether the newest version answers searches."""


@dataclass(frozen=True, slots=True)
class GenerationState:
    """How far one generation of an index is with one document."""

    generation: int
    active: bool
    fingerprint: str
    shard: int
    embedded_version: int | None
    truncated: bool
    served_version: int | None
    """Version that the shard's index worker serves; None when it serves none or did not answer."""
    worker_reached: bool
    """False when the shard's index worker did not answer, so `served_version` is unknown."""
    worker: str
    attempts: int
    last_error: str
    next_attempt_at: datetime | None
    failed: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a search does or does not show the newest version of a document."""

    id: str
    version: int
    wanted_version: int
    """The version at which text or vector last changed: the one that search wants."""
    deleted: bool
    generations: tuple[GenerationState, ...]


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """A document set aside because it cannot be embedded."""

    id: str
    version: int
    reason: str
    attempts: int
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard of a collection's active generation."""

    number: int
    worker: str
    """Name of the index worker that it is assigned to; empty before it is assigned."""
    address: str
    """Address that serves it; empty while none does."""
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
    """Empty for a collection of users' own vectors."""
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
    """Age of the oldest change that search does not show yet; 0 when nothing is pending."""
    created_at: datetime
    shards: tuple[ShardInfo, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound that the server puts on input."""

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
    """What the server is and what it takes."""

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
    """How many there should be now."""
    ready: int


@dataclass(frozen=True, slots=True)
class QueryCacheInfo:
    """The gateway's cache of query vectors. Counts begin at 0 with the gateway's process."""

    hits: int
    misses: int
    joined: int
    """Misses that shared the encoding of an equal text which was already under way."""
    entries: int
    bytes: int
    limit_bytes: int
    """0: the cache is switched off."""

    @property
    def hit_rate(self) -> float:
        """Share of the lookups that were answered without an encoding of their own; 0 before the first."""
        looked_up = self.hits + self.misses
        return (self.hits + self.joined) / looked_up if looked_up else 0.0


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """How the cluster is."""

    collections: tuple[CollectionInfo, ...]
    processes: tuple[ProcessInfo, ...]
    coordinator_epoch: int
    version: str
    query_cache: QueryCacheInfo
    pools: tuple[PoolInfo, ...] = ()
