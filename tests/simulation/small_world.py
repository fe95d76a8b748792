"""Shoal's deciding parts wired together in memory, with random faults: no clock, no network, no disk.

The ledger is a dictionary here; admission, planning, failures, placement, the shard with its fence and merging are real.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

import numpy as np

from shoal.cluster.decisions.admission import Admitted, Incoming, Stored, admit_delete, admit_upsert, content_hash
from shoal.cluster.decisions.merging import Candidate, merge
from shoal.cluster.decisions.placement import place_shards, shard_of
from shoal.cluster.decisions.reconcile import (
    BatchLimits,
    CountAttempt,
    DocumentBatch,
    EmbedRetryPolicy,
    EncodeFailure,
    RetryBatch,
    after_failure,
    next_attempt,
    plan,
)
from shoal.workers.indexing.files.sealing import _deletions, _live_rows
from shoal.workers.indexing.kinds.registry import build_index
from shoal.workers.indexing.manifest import IndexSpec
from shoal.workers.indexing.metric import Floats
from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.shard.sealed_part import SealedPart
from shoal.workers.indexing.shard.shard import Snapshot

DIMENSION = 4
SPEC = IndexSpec("flat", "dot", DIMENSION)
LIMITS = BatchLimits(documents=4, text_bytes=200)
RETRY = EmbedRetryPolicy(attempts=3, first_pause_s=1.0, longest_pause_s=4.0)
WORKERS = ("w0", "w1")
POISONS = {"reject": EncodeFailure.REJECTED, "crash": EncodeFailure.LOST}


def vector_of(text: str) -> Floats:
    """The vector of a text: small whole numbers, so that scores are exact."""
    digest = hashlib.blake2b(text.encode(), digest_size=DIMENSION).digest()
    return np.array([byte - 128 for byte in digest], dtype=np.float32)


@dataclass
class Record:
    """A document and its entry, as the ledger keeps them."""

    stored: Stored
    text: str = ""
    removal: bool = False
    wanted: int = 0
    embedded: int = 0
    ordinal: int = 0
    attempts: int = 0
    due_s: float = 0.0
    failed: bool = False
    priority: int = 0
    sequence: int = 0

    @property
    def pending(self) -> bool:
        return self.embedded < self.wanted and not self.failed


@dataclass(frozen=True)
class Work:
    """A pending document as the coordinator has fetched it; later edits do not reach it."""

    id: str
    version: int
    text: str
    removal: bool
    shard: int
    attempts: int
    priority: int
    vector: bytes = b""


@dataclass
class DurableShard:
    """What is durable: a sealed part and the segments above it."""

    sealed: SealedPart | None = None
    segments: list[tuple[int, Rows]] = field(default_factory=list)
    next_ordinal: int = 1
    worker: str = ""

    def load(self) -> Snapshot:
        return Snapshot.empty(SPEC, self.sealed).extended(self.segments)


class SmallWorld:
    """Everything that outlives a coordinator, and the work of the current one."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now_s = 0.0
        self.sequence = 0
        self.records: dict[str, Record] = {}
        self.shards = [DurableShard() for _ in range(chance.randint(1, 3))]
        self.up = set(WORKERS)
        self.shown: dict[int, Snapshot] = {}
        self.calls: list[DocumentBatch[Work]] = []
        self.rows: list[Work] = []
        self.in_flight: set[str] = set()
        self.encodes = 0

    # What users do.

    def upsert(self, document_id: str, text: str, payload: str) -> None:
        before = self.records.get(document_id)
        incoming = Incoming(document_id, text, payload=payload)
        hashed = content_hash(text, b"")
        decision = admit_upsert(before.stored if before else None, incoming, hashed)
        if isinstance(decision, Admitted):
            self._admit(document_id, decision, text, hashed, payload, deleted=False)

    def delete(self, document_id: str) -> None:
        before = self.records.get(document_id)
        decision = admit_delete(before.stored if before else None)
        if isinstance(decision, Admitted):
            self._admit(document_id, decision, "", content_hash("", b""), "{}", deleted=True)

    def _admit(self, document_id: str, admitted: Admitted, text: str, hashed: bytes, payload: str, deleted: bool) -> None:
        self.sequence += 1
        new = document_id not in self.records
        record = self.records.setdefault(document_id, Record(Stored(0, 0, b"", "", True, False)))
        searchable = record.embedded > 0 and not record.removal
        record.stored = Stored(admitted.version, admitted.content_version, hashed, payload, deleted, searchable)
        record.text = text
        if not admitted.content_changed:
            return
        if not record.pending:
            record.sequence = self.sequence
        record.wanted, record.removal, record.priority = admitted.version, admitted.removal, admitted.priority
        record.attempts, record.due_s, record.failed = 0, 0.0, False
        if new and admitted.removal:
            record.embedded = admitted.version

    # What the coordinator does.

    def place(self) -> None:
        current = {number: (shard.worker,) for number, shard in enumerate(self.shards)}
        for number, (worker,) in place_shards(range(len(self.shards)), sorted(self.up), current).items():
            if self.shards[number].worker != worker:
                self.shards[number].worker = worker
                self.shown.pop(number, None)

    def show(self, number: int) -> None:
        """Level-triggered: the worker gets the whole wanted state and takes what it lacks."""
        durable = self.shards[number]
        if durable.worker not in self.up:
            return
        held = self.shown.get(number)
        if held is None or held.sealed is not durable.sealed:
            self.shown[number] = durable.load()
        else:
            self.shown[number] = held.extended([one for one in durable.segments if one[0] > held.through])

    def fetch(self) -> bool:
        """Starts what is pending; False when there was nothing."""
        due = [
            (record.priority, record.sequence, key)
            for key, record in self.records.items()
            if record.pending and record.due_s <= self.now_s and key not in self.in_flight
        ]
        pending = [self._work(key) for _, _, key in sorted(due)[: self.chance.randint(1, 12)]]
        work = plan(pending, LIMITS, frozenset(self.shown))
        self.rows += work.apply
        self.calls += work.encode
        for batch in work.encode:
            self.in_flight.update(one.id for one in batch.documents)
        self.in_flight.update(one.id for one in work.apply)
        return bool(work.apply or work.encode)

    def _work(self, key: str) -> Work:
        record = self.records[key]
        shard = shard_of(key, len(self.shards))
        return Work(key, record.wanted, record.text, record.removal, shard, record.attempts, record.priority)

    def encode(self, accident: EncodeFailure | None = None) -> None:
        """Carries out one call; an accident hits a batch at most once, a poison always."""
        batch = self.calls.pop(self.chance.randrange(len(self.calls)))
        self.encodes += 1
        failure = None if batch.strikes and accident is EncodeFailure.LOST else accident
        for word, harm in POISONS.items():
            if any(word in one.text for one in batch.documents):
                failure = harm
        if failure is None:
            self.rows += batch.documents
            return
        for effect in after_failure(batch, failure):
            match effect:
                case RetryBatch(again, _):
                    self.calls.append(again)
                case CountAttempt(document):
                    self._count(document)

    def _count(self, document: Work) -> None:
        self.in_flight.discard(document.id)
        record = self.records[document.id]
        if record.wanted != document.version or not record.pending:
            return
        record.attempts = document.attempts + 1
        pause_s = next_attempt(record.attempts, RETRY)
        record.failed = pause_s is None
        record.due_s = self.now_s + (pause_s or 0.0)

    def apply(self) -> None:
        """One round: a segment for each shard, then one commit. What a shard cannot take stays pending."""
        count = self.chance.randint(1, len(self.rows))
        taken, self.rows = self.rows[:count], self.rows[count:]
        self.in_flight.difference_update(one.id for one in taken)
        for number in sorted({one.shard for one in taken} & self.shown.keys()):
            some = [one for one in taken if one.shard == number]
            durable = self.shards[number]
            durable.segments.append((durable.next_ordinal, rows_of(some)))
            durable.next_ordinal += 1
            for one in some:
                self._embedded(one, durable.next_ordinal - 1)

    def _embedded(self, one: Work, ordinal: int) -> None:
        record = self.records[one.id]
        if record.embedded < one.version:
            record.embedded, record.ordinal = one.version, ordinal
            if one.version >= record.wanted:
                record.attempts, record.due_s, record.failed = 0, 0.0, False

    def seal(self, number: int) -> None:
        durable = self.shards[number]
        whole = durable.load()
        if not whole.through:
            return
        ids, versions, vectors = _live_rows(whole)
        deleted = _deletions(whole)
        gone = np.array([deleted[one] for one in sorted(deleted)], dtype=np.int64)
        index = build_index(SPEC, vectors)
        durable.sealed = SealedPart(whole.through, ids, versions, index, sorted(deleted), gone)
        durable.segments = []

    # Faults.

    def crash_coordinator(self) -> None:
        self.calls, self.rows, self.in_flight = [], [], set()

    def lose_count(self) -> None:
        """A defect: documents in flight are fetched again, so older rows may land behind newer ones."""
        self.in_flight = set()

    def damage(self, number: int) -> None:
        """A segment cannot be read any more: the ledger stops naming it, and what it held is pending again."""
        durable = self.shards[number]
        if not durable.segments:
            return
        ordinal, _ = durable.segments.pop(self.chance.randrange(len(durable.segments)))
        self.shown.pop(number, None)
        for key, record in self.records.items():
            if shard_of(key, len(self.shards)) == number and record.ordinal == ordinal:
                record.embedded, record.ordinal = 0, 0

    def crash_worker(self, worker: str) -> None:
        """Loses a worker: its shards are gone from memory and are placed elsewhere after a while."""
        self.up.discard(worker)
        for number, shard in enumerate(self.shards):
            if shard.worker == worker:
                self.shown.pop(number, None)

    # What searches see.

    def search(self, text: str) -> list[Candidate]:
        """Every candidate of every shard that is shown, merged; not validated yet."""
        query = vector_of(text)[None, :]
        lists = []
        for snapshot in self.shown.values():
            hits = snapshot.search(query, 1000)
            lists.append([Candidate(*hit) for hit in zip(hits.ids, hits.versions, hits.scores, strict=True)])
        return merge(lists)


def rows_of(some: list[Work]) -> Rows:
    vectors = [vector_of(one.text) for one in some if not one.removal]
    return Rows(
        [one.id for one in some],
        np.array([one.version for one in some], dtype=np.int64),
        np.array([one.removal for one in some], dtype=np.bool_),
        np.array(vectors, dtype=np.float32).reshape(-1, DIMENSION),
    )
