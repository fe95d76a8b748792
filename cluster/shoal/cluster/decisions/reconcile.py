"""How pending documents are batched and retried. Pure: documents and failures come in, batches and effects go out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from shoal.cluster.decisions.admission import is_live


class Pending(Protocol):
    """What these decisions need to know about a pending document."""

    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def vector(self) -> bytes | None: ...
    @property
    def removal(self) -> bool: ...
    @property
    def shard(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def priority(self) -> int: ...


P = TypeVar("P", bound=Pending)

LOSSES_BEFORE_BISECTING = 2
BUSY_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The largest batch for an encoder."""

    documents: int
    text_bytes: int


@dataclass(frozen=True, slots=True)
class DocumentBatch(Generic[P]):
    """Documents that go to an encoder in one call."""

    documents: tuple[P, ...]
    strikes: int = 0
    """How often an encoder was lost while it worked on these documents."""

    @property
    def live(self) -> bool:
        """Whether a user may be waiting for these documents: they go before backfill."""
        return is_live(self.documents[0].priority)


@dataclass(frozen=True, slots=True)
class Plan(Generic[P]):
    """The work that can be started now."""

    apply: tuple[P, ...]
    """Removals and users' own vectors: they need no encoder."""
    encode: tuple[DocumentBatch[P], ...]


def plan(pending: Sequence[P], limits: BatchLimits, shards_ready: frozenset[int]) -> Plan[P]:
    """Divides pending documents into work, in their order.

    Documents of a shard that no worker serves now are left out; one that failed before gets a batch of its own. Live edits
    and backfill never share a batch: otherwise the edits would have to wait like the backfill.
    """
    apply: list[P] = []
    batches: list[DocumentBatch[P]] = []
    batch: list[P] = []
    size = 0
    for document in pending:
        if document.shard not in shards_ready:
            continue
        if document.removal or document.vector:
            apply.append(document)
            continue
        if document.attempts:
            # It failed before. Alone it cannot make other documents fail.
            batches.append(DocumentBatch((document,), LOSSES_BEFORE_BISECTING - 1))
            continue
        length = len(document.text.encode())
        full = len(batch) >= limits.documents or size + length > limits.text_bytes
        if batch and (full or is_live(document.priority) != is_live(batch[0].priority)):
            batches.append(DocumentBatch(tuple(batch)))
            batch, size = [], 0
        batch.append(document)
        size += length
    if batch:
        batches.append(DocumentBatch(tuple(batch)))
    return Plan(tuple(apply), tuple(batches))


class EncodeFailure(Enum):
    """How a call to an encoder failed."""

    BUSY = "busy"
    """The replica was full, slow or could not be reached: no fault of the documents."""
    LOST = "lost"
    """The process died or the connection broke during the call: a document may have caused it."""
    REJECTED = "rejected"
    """The encoder answered that it cannot encode this batch."""
    INVALID = "invalid"
    """The encoder takes no such batch: another attempt would get the same answer."""


@dataclass(frozen=True, slots=True)
class RetryBatch(Generic[P]):
    """Try the batch again after a pause."""

    batch: DocumentBatch[P]
    pause_s: float


@dataclass(frozen=True, slots=True)
class CountAttempt(Generic[P]):
    """Count a failed attempt against this one document."""

    document: P
    final: bool = False
    """No further attempt can help."""


FailureEffect = RetryBatch[P] | CountAttempt[P]


def after_failure(batch: DocumentBatch[P], failure: EncodeFailure) -> tuple[FailureEffect[P], ...]:
    """What to do when a whole batch fails: retry it, bisect it, or count an attempt if it is a single document."""
    if failure is EncodeFailure.BUSY:
        return (RetryBatch(batch, BUSY_PAUSE_S),)
    strikes = batch.strikes + 1
    if failure is EncodeFailure.LOST and strikes < LOSSES_BEFORE_BISECTING:
        return (RetryBatch(DocumentBatch(batch.documents, strikes), BUSY_PAUSE_S),)
    if len(batch.documents) == 1:
        return (CountAttempt(batch.documents[0], failure is EncodeFailure.INVALID),)
    middle = len(batch.documents) // 2
    # The halves start one strike below the bound, so that each further loss bisects at once.
    carried = LOSSES_BEFORE_BISECTING - 1 if failure is EncodeFailure.LOST else 0
    return tuple(
        RetryBatch(DocumentBatch(part, carried), 0.0) for part in (batch.documents[:middle], batch.documents[middle:])
    )


@dataclass(frozen=True, slots=True)
class EmbedRetryPolicy:
    """Pauses between attempts that count."""

    attempts: int
    first_pause_s: float
    longest_pause_s: float


def next_attempt(attempts: int, policy: EmbedRetryPolicy, final: bool = False) -> float | None:
    """Seconds to wait after the `attempts`-th failed attempt; None when the document is set aside as failed.

    `final`: the encoder's answer cannot change, so there is no further attempt.
    """
    if final or attempts >= policy.attempts:
        return None
    return min(policy.longest_pause_s, policy.first_pause_s * 2.0 ** min(attempts - 1, 60))
