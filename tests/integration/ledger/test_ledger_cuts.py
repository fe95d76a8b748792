"""A random history, applied to the ledger and to a model of plain dictionaries; both agree after each step."""

import random
from dataclasses import dataclass, field

import pytest
from ledgers import NOW_MS, SETTINGS, Ledger
from sqlalchemy import select

from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.decisions.placement import shard_of
from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.decisions.tokens.write_token import WriteToken
from shoal.cluster.ledger import schema
from shoal.cluster.ledger.records import FailedAttempt, PendingDocument, WriteBatch, WriteOutcome
from shoal.workers.indexing.manifest import SealedInfo

IDS = [f"doc-{number}" for number in range(24)]
STEPS = 90


@dataclass
class Doc:
    """What the model stores of one document."""

    text: str = ""
    payload: str = "{}"
    version: int = 0
    deleted: bool = True
    wanted: int = 0
    embedded: int = 0
    failed: bool = False
    ordinal: int = 0
    waiting_since: tuple[int, int] = (0, 0)
    """Sequence and time of the oldest change that is not shown."""
    untold: bool = True
    """No transaction that is over has wanted it in a shard."""

    @property
    def removal(self) -> bool:
        return self.deleted or not self.text

    @property
    def unshown(self) -> bool:
        return self.embedded < self.wanted

    @property
    def pending(self) -> bool:
        return self.unshown and not self.failed


@dataclass
class Model:
    docs: dict[str, Doc] = field(default_factory=dict)
    sequence: int = 0
    write_sets: dict[int, dict[str, int]] = field(default_factory=dict)
    """The version of each document that a token of the write waits for."""
    segments: dict[int, set[int]] = field(default_factory=lambda: {shard: set() for shard in range(SETTINGS.shards)})
    sealed: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(SETTINGS.shards), 0))

    def write(self, batch: WriteBatch, now_ms: int) -> list[tuple[str, int, bool]]:
        before = {name: (doc.version, doc.wanted) for name, doc in self.docs.items()}
        results: list[tuple[str, int, bool]] = []
        for incoming in batch.upserts:
            doc = self.docs.get(incoming.id, Doc())
            same_text = not doc.deleted and doc.text == incoming.text
            if same_text and doc.payload == incoming.payload:
                results.append((incoming.id, doc.version, False))
                continue
            self.docs[incoming.id] = doc
            doc.text, doc.payload, doc.deleted = incoming.text, incoming.payload, False
            self._changed(doc, content=not same_text, now_ms=now_ms)
            results.append((incoming.id, doc.version, True))
        for name in batch.deletes:
            doc = self.docs.get(name, Doc())
            if not doc.deleted:
                doc.text, doc.payload, doc.deleted = "", "{}", True
                self._changed(doc, content=True, now_ms=now_ms)
                results.append((name, doc.version, True))
            else:
                results.append((name, doc.version, False))
        touched = [*(incoming.id for incoming in batch.upserts), *batch.deletes]
        not_shown = {name: self.docs[name].wanted for name in touched if name in self.docs and self.docs[name].unshown}
        if not_shown or before != {name: (doc.version, doc.wanted) for name, doc in self.docs.items()}:
            self.sequence += 1
            self.write_sets[self.sequence] = not_shown
        return results

    def awaits(self, sequence: int) -> bool:
        docs = ((self.docs[name], version) for name, version in self.write_sets.get(sequence, {}).items())
        return any(doc.embedded < version and not doc.failed for doc, version in docs)

    def _changed(self, doc: Doc, content: bool, now_ms: int) -> None:
        doc.version += 1
        if content:
            if not doc.pending:
                doc.waiting_since = (self.sequence + 1, now_ms)
            doc.wanted, doc.failed = doc.version, False

    def committed(self) -> None:
        """Ends a transaction: a document that it created and deleted never existed."""
        for doc in self.docs.values():
            if doc.untold and doc.wanted and doc.removal:
                doc.embedded = doc.wanted
            if doc.wanted:
                doc.untold = False

    def of(self, shard: int) -> list[Doc]:
        return [doc for name, doc in self.docs.items() if shard_of(name, SETTINGS.shards) == shard]


def check(ledger: Ledger, model: Model, rng: random.Random) -> None:
    token = rng.randint(0, model.sequence + 1)
    collection = ledger.reader.collection("papers").id
    cut = ledger.reader.cut("papers", AwaitedWrites(WriteToken(collection, (), token)))
    for shard in cut.shards:
        docs = model.of(shard.number)
        assert shard.documents == sum(not doc.removal for doc in docs)
        assert shard.pending_documents == sum(doc.pending and not doc.removal for doc in docs)
        assert shard.pending_removals == sum(doc.pending and doc.removal for doc in docs)
        assert shard.failed == sum(doc.failed for doc in docs)
        assert shard.through == max({0, model.sealed[shard.number]} | model.segments[shard.number])
    waiting = [doc.waiting_since for doc in model.docs.values() if doc.pending]
    assert (cut.pending, cut.failed) == (len(waiting), sum(doc.failed for doc in model.docs.values()))
    assert cut.oldest_changed_at_ms == (min(waiting)[1] if waiting else None)
    assert cut.token_pending == any(sequence <= token for sequence, _ in waiting)
    for sequence in rng.sample(sorted(model.write_sets), min(4, len(model.write_sets))):
        assert ledger.waits(WriteToken.of(collection, sequence)) == model.awaits(sequence)
    some = rng.sample(sorted(model.write_sets), min(3, len(model.write_sets)))
    assert ledger.waits(WriteToken.of(collection, *some)) == any(map(model.awaits, some))
    assert cut.collection.sequence == model.sequence
    listed = ledger.pending(cut.generation.id)
    assert {d.id: (d.version, d.text) for d in listed} == {
        name: (doc.wanted, "" if doc.removal else doc.text) for name, doc in model.docs.items() if doc.pending
    }
    assert [(d.priority, d.sequence) for d in listed] == sorted((d.priority, d.sequence) for d in listed)
    recount(ledger, cut.generation.id, {shard.number: shard.documents for shard in cut.shards})


def recount(ledger: Ledger, generation: int, documents: dict[int, int]) -> None:
    """The counters kept along with writes equal what the rows say."""
    counted = dict.fromkeys(documents, 0)
    with ledger.reading_engine.connect() as connection:
        for row in connection.execute(select(schema.entry).where(schema.entry.c.generation_id == generation)):
            counted[row.shard] += not row.removal
    assert counted == documents


def write(ledger: Ledger, model: Model, rng: random.Random, now_ms: int) -> None:
    batches = []
    for _ in range(rng.randint(1, 3)):
        upserts = [
            Incoming(name, rng.choice(["", "reef", "atoll", "kelp"]), b"", rng.choice(["{}", '{"a":1}']))
            for name in rng.sample(IDS, rng.randint(0, 5))
        ]
        batches.append(WriteBatch("papers", upserts, rng.sample(IDS, rng.randint(0, 2))))
    for batch, outcome in zip(batches, ledger.writer.write(batches, now_ms), strict=True):
        assert isinstance(outcome, WriteOutcome)
        assert [(r.id, r.version, r.changed) for r in outcome.results] == model.write(batch, now_ms)
        assert outcome.sequence == model.sequence
    model.committed()


def apply(ledger: Ledger, model: Model, rng: random.Random, generation: int, read_before: list[PendingDocument]) -> None:
    """Commits what was read some steps ago: by now some of it is out of date."""
    chosen = rng.sample(read_before, rng.randint(0, len(read_before)))
    for commit in ledger.segments(generation, chosen):
        ledger.progress.commit_segments([commit])
        model.segments[commit.shard].add(commit.segment.ordinal)
        for applied in commit.applied:
            doc = model.docs[applied.id]
            if applied.version > doc.embedded:
                doc.embedded, doc.ordinal = applied.version, commit.segment.ordinal
                doc.failed = doc.failed and applied.version < doc.wanted


def fail(ledger: Ledger, model: Model, rng: random.Random, generation: int, read_before: list[PendingDocument]) -> None:
    for document in rng.sample(read_before, rng.randint(0, min(3, len(read_before)))):
        failure = FailedAttempt(generation, document.id, document.version, "bad", 3, NOW_MS, rng.random() < 0.7)
        ledger.progress.record_failures([failure], NOW_MS)
        doc = model.docs[document.id]
        if doc.wanted == document.version and doc.pending and not doc.removal:
            doc.failed = failure.failed


def retry(ledger: Ledger, model: Model, rng: random.Random) -> None:
    ids = rng.choice([None, rng.sample(IDS, 5)])
    failed = [doc for name, doc in model.docs.items() if doc.failed and (ids is None or name in ids)]
    assert ledger.progress.retry_failed("papers", ids) == len(failed)
    for doc in failed:
        doc.failed = False


def damage(ledger: Ledger, model: Model, rng: random.Random, generation: int) -> None:
    shard = rng.randrange(SETTINGS.shards)
    ordinals = set(rng.sample(range(1, 12), 3))
    sealed = rng.random() < 0.3
    gone = ordinals & model.segments[shard]
    lost = [doc for doc in model.of(shard) if doc.ordinal in gone or (sealed and 0 < doc.ordinal <= model.sealed[shard])]
    assert ledger.progress.report_damage(generation, shard, ordinals, sealed) == len(lost)
    model.segments[shard] -= gone
    if sealed:
        model.sealed[shard] = 0
    for doc in lost:
        doc.embedded = doc.ordinal = 0


def seal(ledger: Ledger, model: Model, rng: random.Random, generation: int) -> None:
    shard = rng.randrange(SETTINGS.shards)
    if model.segments[shard]:
        through = rng.choice(sorted(model.segments[shard]))
        covered = {ordinal for ordinal in model.segments[shard] if ordinal <= through}
        was_sealed = model.sealed[shard] > 0
        obsolete = ledger.progress.commit_sealed(generation, shard, SealedInfo(through, f"sealed-{through}", "", 0, 0))
        assert len(obsolete) == len(covered) + was_sealed
        model.segments[shard] -= covered
        model.sealed[shard] = through


@pytest.mark.parametrize("seed", range(3))
def test_counts_agree_with_a_model_through_a_random_life(ledger: Ledger, seed: int) -> None:
    rng = random.Random(seed)
    collection = ledger.create()
    generation = collection.generation.id
    model = Model()
    read_before: list[PendingDocument] = []
    for step in range(STEPS):
        match rng.choices(["write", "apply", "fail", "retry", "damage", "seal", "read"], [6, 4, 2, 1, 1, 1, 3])[0]:
            case "write":
                write(ledger, model, rng, NOW_MS + step)
            case "apply":
                apply(ledger, model, rng, generation, read_before)
            case "fail":
                fail(ledger, model, rng, generation, read_before)
            case "retry":
                retry(ledger, model, rng)
            case "damage":
                damage(ledger, model, rng, generation)
            case "seal":
                seal(ledger, model, rng, generation)
            case _:
                read_before = ledger.pending(generation)
        check(ledger, model, rng)
    ledger.progress.retry_failed("papers", None)
    ledger.drain(generation)
    cut = ledger.reader.cut("papers", AwaitedWrites(WriteToken(collection.id, (), model.sequence)))
    assert (cut.pending, cut.failed, cut.oldest_changed_at_ms, cut.token_pending) == (0, 0, None, False)
    stored = {document.id: document for document in ledger.reader.get("papers", IDS)}
    assert {name: (d.text, d.payload, d.version, d.searchable) for name, d in stored.items()} == {
        name: (doc.text, doc.payload, doc.version, not doc.removal) for name, doc in model.docs.items() if not doc.deleted
    }
    live = ledger.reader.hydrate(collection.id, generation, IDS, include_text=True)
    assert {name: (d.content_version, d.deleted) for name, d in live.items()} == {
        name: (doc.wanted, doc.deleted) for name, doc in model.docs.items()
    }
