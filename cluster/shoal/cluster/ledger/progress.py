"""`LedgerProgress`: the reconcile side of the ledger. What is pending, what was applied, what failed, where shards are."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import BigInteger, Boolean, Engine, and_, bindparam, case, func, literal, null, select, update

from shoal.cluster.ledger import catalog, files, schema
from shoal.cluster.ledger.connection import reading
from shoal.cluster.ledger.lease import writing
from shoal.cluster.ledger.reader import chunks
from shoal.cluster.ledger.records import Failure, GenerationRecord, PendingDocument, SegmentCommit
from shoal.workers.indexing.manifest import ManifestInfo, SealedInfo

_document, _entry, _shard = schema.document, schema.entry, schema.shard


class LedgerProgress:
    """Reads and records the work of the coordinator of `epoch`; what writes raises Deposed when another has taken over."""

    def __init__(self, engine: Engine, epoch: int) -> None:
        self._engine = engine
        self._epoch = epoch

    def generations(self) -> list[GenerationRecord]:
        """Generations that follow every write, of all collections, in order of id."""
        with reading(self._engine) as connection:
            return catalog.live_generations(connection)

    def pending(
        self,
        generation_id: int,
        limit: int,
        now_ms: int,
        exclude_ids: Collection[str] = (),
        shards: Collection[int] | None = None,
        priority_to: int | None = None,
    ) -> list[PendingDocument]:
        """The most urgent pending documents that are due, at most `limit`, with the content of the version to apply.

        `exclude_ids` names those already being worked on. With `shards`, only documents of these are looked at: those of a
        shard that nobody serves now must not keep the others from being seen. With `priority_to`, only those as urgent.
        """
        excluded = frozenset(exclude_ids)
        columns = [_entry.c[name] for name in ("document_id", "shard", "wanted_version", "sequence", "priority", "removal")]
        due = (
            select(*columns, _entry.c.attempts)
            .where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.next_attempt_at_ms <= now_ms)
            .order_by(_entry.c.priority, _entry.c.sequence)
            # Documents being worked on are mostly the most urgent: reading past them is cheaper than naming them all.
            .limit(limit + len(excluded))
        )
        if priority_to is not None:
            due = due.where(_entry.c.priority <= priority_to)
        if shards is not None:
            due = due.where(_entry.c.shard.in_(sorted(shards)))
        with reading(self._engine) as connection:
            rows = [row for row in connection.execute(due) if row.document_id not in excluded][:limit]
            contents: dict[str, tuple[str, bytes]] = {}
            owner = (
                select(schema.generation.c.collection_id).where(schema.generation.c.id == generation_id).scalar_subquery()
            )
            for some in chunks([row.document_id for row in rows if not row.removal]):
                texts = select(_document.c.id, _document.c.text, _document.c.vector).where(
                    _document.c.collection_id == owner, _document.c.id.in_(some)
                )
                contents.update((row.id, (row.text, row.vector or b"")) for row in connection.execute(texts))
        return [
            PendingDocument(
                row.document_id,
                row.shard,
                row.wanted_version,
                row.sequence,
                row.priority,
                row.removal,
                *contents.get(row.document_id, ("", b"")),
                row.attempts,
            )
            for row in rows
        ]

    def backlog(self, generation_id: int, limit: int) -> int:
        """How many documents wait to be embedded in a generation, whenever they are due; counted up to `limit`."""
        some = (
            select(literal(1))
            .where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.removal.is_(False))
            .limit(limit)
            .subquery()
        )
        with reading(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(some)).scalar_one()

    def pending_among(self, generation_id: int, ids: Sequence[str]) -> list[tuple[PendingDocument, bytes]]:
        """Those of the documents that are pending and not to be removed, without their text, each with its content hash."""
        columns = [_entry.c[name] for name in ("document_id", "shard", "wanted_version", "sequence", "priority")]
        statement = (
            select(*columns, _entry.c.attempts, _document.c.content_hash)
            .join(schema.generation, schema.generation.c.id == _entry.c.generation_id)
            .join(
                _document,
                and_(_document.c.collection_id == schema.generation.c.collection_id, _document.c.id == _entry.c.document_id),
            )
            .where(_entry.c.generation_id == generation_id, schema.pending(), _entry.c.removal.is_(False))
        )
        found: list[tuple[PendingDocument, bytes]] = []
        with reading(self._engine) as connection:
            for some in chunks(ids):
                for row in connection.execute(statement.where(_entry.c.document_id.in_(some))):
                    document = PendingDocument(
                        row.document_id,
                        row.shard,
                        row.wanted_version,
                        row.sequence,
                        row.priority,
                        removal=False,
                        text="",
                        vector=b"",
                        attempts=row.attempts,
                    )
                    found.append((document, row.content_hash))
        return found

    def commit_segments(self, commits: Sequence[SegmentCommit]) -> list[str]:
        """Names segments and records what they hold, all in one transaction: from then on searches may see them.

        Returns the paths that were not named because their collection was dropped meanwhile; nothing needs those files.
        Raises OrdinalTaken, and then commits nothing, when an ordinal is not above those before it.
        """
        with writing(self._engine, self._epoch) as connection:
            return files.commit_segments(connection, commits)

    def manifest(self, generation_id: int, shard: int) -> ManifestInfo:
        """The files that the shard is made of. Raises ShardNotFound, as when its collection was dropped."""
        with reading(self._engine) as connection:
            return files.read_manifest(connection, generation_id, shard)

    def next_ordinals(self, generation_id: int) -> dict[int, int]:
        """For each shard the ordinal of the segment to be written next; empty when the generation is gone."""
        columns = (_shard.c.number, _shard.c.next_ordinal)
        with reading(self._engine) as connection:
            rows = connection.execute(select(*columns).where(_shard.c.generation_id == generation_id)).all()
        return {row.number: row.next_ordinal for row in rows}

    def commit_sealed(self, generation_id: int, shard: int, sealed: SealedInfo) -> list[str]:
        """Puts a sealed index in the place of the segments up to `sealed.through`; returns the paths nothing names any more.

        That is the new file's own path when the shard is gone or holds a newer sealed index already.
        """
        with writing(self._engine, self._epoch) as connection:
            return files.commit_sealed(connection, generation_id, shard, sealed)

    def report_damage(
        self, generation_id: int, shard: int, ordinals: Collection[int], sealed: bool, sealed_through: int | None = None
    ) -> int:
        """Stops naming files that cannot be read; what they held is pending again. Returns how many entries that is.

        `sealed_through` says which sealed index was meant; one that has taken its place since is left alone.
        """
        with writing(self._engine, self._epoch) as connection:
            return files.forget_damaged(connection, generation_id, shard, ordinals, sealed, sealed_through)

    def record_failures(self, failures: Sequence[Failure], now_ms: int) -> None:
        """Records failed attempts; one on a version that is no longer wanted, or was applied meanwhile, is ignored.

        A removal is never set aside: it holds nothing that could be at fault.
        """
        if not failures:
            return
        statement = (
            update(_entry)
            .where(
                _entry.c.generation_id == bindparam("of_generation"),
                _entry.c.document_id == bindparam("of_document"),
                _entry.c.wanted_version == bindparam("of_version"),
                schema.pending(),
            )
            .values(
                error=bindparam("reason"),
                attempts=bindparam("made"),
                next_attempt_at_ms=bindparam("due"),
                failed_at_ms=case(
                    (and_(bindparam("aside", type_=Boolean()), _entry.c.removal.is_(False)), literal(now_ms, BigInteger())),
                    else_=null(),
                ),
            )
        )
        rows = [
            {
                "of_generation": failure.generation_id,
                "of_document": failure.id,
                "of_version": failure.version,
                "reason": failure.error,
                "made": failure.attempts,
                "due": failure.next_attempt_at_ms,
                "aside": failure.failed,
            }
            for failure in failures
        ]
        with writing(self._engine, self._epoch) as connection:
            connection.execute(statement, rows)

    def retry_failed(self, collection: str, ids: Sequence[str] | None) -> int:
        """Makes failed documents pending again, all of them for None; returns how many. Raises CollectionNotFound."""
        with writing(self._engine, self._epoch) as connection:
            record = catalog.find_collection(connection, collection)
            live = [generation.id for generation in catalog.live_generations(connection, record.id)]
            statement = (
                update(_entry)
                .where(_entry.c.generation_id.in_(live), schema.failed())
                .values(failed_at_ms=None, attempts=0, next_attempt_at_ms=0)
            )
            if ids is None:
                return connection.execute(statement).rowcount
            return sum(connection.execute(statement.where(_entry.c.document_id.in_(some))).rowcount for some in chunks(ids))

    def place(self, generation_id: int, workers: Mapping[int, str]) -> None:
        """Records which worker each of the shards is on, "" for none."""
        if not workers:
            return
        statement = (
            update(_shard)
            .where(_shard.c.generation_id == generation_id, _shard.c.number == bindparam("of_shard"))
            .values(worker=bindparam("name"))
        )
        rows = [{"of_shard": shard, "name": worker} for shard, worker in workers.items()]
        with writing(self._engine, self._epoch) as connection:
            connection.execute(statement, rows)

    def placements(self) -> dict[tuple[int, int], str]:
        """The recorded worker of each (generation id, shard); "" where there is none."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(_shard.c.generation_id, _shard.c.number, _shard.c.worker)).all()
        return {(row.generation_id, row.number): row.worker for row in rows}
