"""A ledger with everything opened on it, and short ways to put documents in and to apply them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.decisions.tokens.write_token import WriteToken
from shoal.cluster.ledger.connection import migrate, open_engine
from shoal.cluster.ledger.lease import acquire_lease
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.reader import LedgerReader
from shoal.cluster.ledger.records import (
    Applied,
    CollectionRecord,
    CollectionSettings,
    DocumentOutcome,
    PendingDocument,
    SegmentCommit,
    WriteBatch,
    WriteOutcome,
)
from shoal.cluster.ledger.writer import LedgerWriter
from shoal.workers.indexing.manifest import SegmentInfo

NOW_MS = 1_795_000_000_000
"""A real time in milliseconds: it does not fit into 32 bits."""
SETTINGS = CollectionSettings(model="hashing", dimension=0, index="flat", metric="cosine", shards=3, empty_text="store")


@dataclass(frozen=True)
class Ledger:
    url: str
    engine: Engine
    reading_engine: Engine
    epoch: int
    writer: LedgerWriter
    progress: LedgerProgress
    reader: LedgerReader

    def create(self, name: str = "papers") -> CollectionRecord:
        return self.writer.create_collection(name, SETTINGS, "fingerprint", 8, NOW_MS)

    def upsert(self, *documents: Incoming, name: str = "papers", now_ms: int = NOW_MS) -> WriteOutcome:
        return self.write(WriteBatch(name, upserts=documents), now_ms=now_ms)

    def delete(self, *ids: str, name: str = "papers", now_ms: int = NOW_MS) -> WriteOutcome:
        return self.write(WriteBatch(name, deletes=ids), now_ms=now_ms)

    def write(self, batch: WriteBatch, now_ms: int = NOW_MS) -> WriteOutcome:
        (outcome,) = self.writer.write([batch], now_ms)
        assert isinstance(outcome, WriteOutcome)
        return outcome

    def pending(self, generation_id: int, now_ms: int = NOW_MS, limit: int = 1000) -> list[PendingDocument]:
        return self.progress.pending(generation_id, limit, now_ms, ())

    def apply(self, generation_id: int, documents: Sequence[PendingDocument]) -> list[str]:
        """Commits one segment for each shard that the documents are in."""
        return self.progress.commit_segments(self.segments(generation_id, documents))

    def segments(self, generation_id: int, documents: Sequence[PendingDocument]) -> list[SegmentCommit]:
        ordinals = self.progress.next_ordinals(generation_id)
        by_shard: dict[int, list[Applied]] = {}
        for document in documents:
            by_shard.setdefault(document.shard, []).append(Applied(document.id, document.version))
        return [
            SegmentCommit(generation_id, shard, segment(shard, ordinals.get(shard, 1), len(applied)), applied)
            for shard, applied in by_shard.items()
        ]

    def waits(self, token: WriteToken, name: str = "papers") -> bool:
        """Whether a search with the token has to wait."""
        return self.reader.cut(name, AwaitedWrites(token)).token_pending

    def drain(self, generation_id: int, now_ms: int = NOW_MS) -> None:
        """Applies everything that is pending and due."""
        while documents := self.pending(generation_id, now_ms):
            self.apply(generation_id, documents)


def segment(shard: int, ordinal: int, rows: int) -> SegmentInfo:
    return SegmentInfo(ordinal, f"shard-{shard}/segment-{ordinal}.arrow", f"checksum-{ordinal}", rows, rows * 100)


def everything_through(outcome: WriteOutcome) -> WriteToken:
    """A token of an earlier release: it names every write up to this one."""
    return WriteToken(outcome.collection_id, (), outcome.sequence)


def changed(outcome: WriteOutcome) -> list[tuple[str, int, bool]]:
    return [(result.id, result.version, result.changed) for result in outcome.results]


def only(outcome: WriteOutcome) -> DocumentOutcome:
    (result,) = outcome.results
    return result


@contextmanager
def open_ledger(url: str) -> Iterator[Ledger]:
    engine = open_engine(url, read_only=False)
    try:
        migrate(engine)
        epoch = acquire_lease(engine, "coordinator", "127.0.0.1:1", 10_000, NOW_MS)
        reading_engine = open_engine(url, read_only=True)
        try:
            yield Ledger(
                url=url,
                engine=engine,
                reading_engine=reading_engine,
                epoch=epoch,
                writer=LedgerWriter(engine, epoch),
                progress=LedgerProgress(engine, epoch),
                reader=LedgerReader(reading_engine),
            )
        finally:
            reading_engine.dispose()
    finally:
        engine.dispose()
