"""`LedgerProgress`: what the coordinator reads and records while it reconciles shards with documents.

Each method is one transaction; the statements are in pending.py, files.py, failures.py, catalog.py and written/.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Engine

from shoal.cluster.ledger import catalog, failures, files, pending
from shoal.cluster.ledger.connection import check_readable, ledger_folder, reading
from shoal.cluster.ledger.lease import writing
from shoal.cluster.ledger.pending import Divide
from shoal.cluster.ledger.records import FailedAttempt, GenerationRecord, PendingDocument, SegmentCommit
from shoal.cluster.ledger.written.write_sets import forget_write_sets
from shoal.workers.indexing import ManifestInfo, SealedInfo


class LedgerProgress:
    """For the coordinator of `epoch`. Methods that write raise Deposed once another coordinator has taken the lease."""

    def __init__(self, engine: Engine, epoch: int) -> None:
        self._engine = engine
        self._epoch = epoch

    def check(self) -> None:
        """Raises LedgerUnreadable when the ledger is no longer there."""
        check_readable(self._engine)

    @property
    def folder(self) -> str:
        """The folder of a ledger in a SQLite file; empty for a database server."""
        return ledger_folder(self._engine)

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
        divide: Divide | None = None,
    ) -> list[PendingDocument]:
        """Pending documents that are due, at most `limit`, with the content of the version to apply.

        The most urgent ones, unless `divide` says how many of each priority. Of one priority, those that wait longest.

        `exclude_ids` names those already being worked on. `shards` restricts the result to these shards, so that documents
        of a shard without a worker do not hide the others. `priority_to` restricts it to that priority and more urgent ones.
        """
        with reading(self._engine) as connection:
            return pending.read_pending(connection, generation_id, limit, now_ms, exclude_ids, shards, priority_to, divide)

    def backlog(self, generation_id: int, limit: int) -> int:
        """How many documents of a generation are pending, due or not; counts up to `limit`, without removals."""
        with reading(self._engine) as connection:
            return pending.count_pending(connection, generation_id, limit)

    def pending_among(self, generation_id: int, ids: Sequence[str]) -> list[tuple[PendingDocument, bytes]]:
        """Those of the documents that are pending and not removals, without their text, each with its content hash."""
        with reading(self._engine) as connection:
            return pending.read_pending_among(connection, generation_id, ids)

    def commit_segments(self, commits: Sequence[SegmentCommit]) -> list[str]:
        """Adds segments to their manifests and records what they hold, in one transaction; then searches may see them.

        Returns the paths of segments that were left out because their collection was dropped; nothing needs those files.
        Raises OrdinalTaken, and commits nothing, when an ordinal is not above all earlier ones.
        """
        with writing(self._engine, self._epoch) as connection:
            return files.commit_segments(connection, commits)

    def manifest(self, generation_id: int, shard: int) -> ManifestInfo:
        """The files that make up the shard. Raises ShardNotFound, for example after its collection was dropped."""
        with reading(self._engine) as connection:
            return files.read_manifest(connection, generation_id, shard)

    def next_ordinals(self, generation_id: int) -> dict[int, int]:
        """The ordinal of each shard's next segment; empty when the generation is gone."""
        with reading(self._engine) as connection:
            return files.read_next_ordinals(connection, generation_id)

    def commit_sealed(self, generation_id: int, shard: int, sealed: SealedInfo) -> list[str]:
        """Replaces the segments up to `sealed.through` by a sealed index; returns the paths no longer in a manifest.

        That is the new file's own path when the shard is gone or already has a newer sealed index.
        """
        with writing(self._engine, self._epoch) as connection:
            return files.commit_sealed(connection, generation_id, shard, sealed)

    def report_damage(
        self, generation_id: int, shard: int, ordinals: Collection[int], sealed: bool, sealed_through: int | None = None
    ) -> int:
        """Removes unreadable files from the manifest; what they held is pending again. Returns the number of such entries.

        `sealed_through` identifies the damaged sealed index; one that has since replaced it is kept.
        """
        with writing(self._engine, self._epoch) as connection:
            return files.forget_damaged(connection, generation_id, shard, ordinals, sealed, sealed_through)

    def record_failures(self, failed: Sequence[FailedAttempt], now_ms: int) -> None:
        """Records failed attempts; ignores those on a version that is no longer wanted or was applied meanwhile.

        A removal is never set aside: it has no content that could cause the failure.
        """
        if failed:
            with writing(self._engine, self._epoch) as connection:
                failures.record_failures(connection, failed, now_ms)

    def retry_failed(self, collection: str, ids: Sequence[str] | None) -> int:
        """Makes failed documents pending again, all of them for None; returns how many. Raises CollectionNotFound."""
        with writing(self._engine, self._epoch) as connection:
            return failures.retry_failed(connection, collection, ids)

    def forget_write_sets(self, shown_before_ms: int, any_before_ms: int, limit: int) -> int:
        """Deletes the oldest write sets, at most `limit`; returns how many.

        Those from before `shown_before_ms` go if nothing of them is pending, those from before `any_before_ms` in any case.
        """
        with writing(self._engine, self._epoch) as connection:
            return forget_write_sets(connection, shown_before_ms, any_before_ms, limit)

    def place(self, generation_id: int, workers: Mapping[int, str]) -> None:
        """Records the worker of each of these shards, "" for none."""
        if workers:
            with writing(self._engine, self._epoch) as connection:
                catalog.record_placements(connection, generation_id, workers)

    def placements(self) -> dict[tuple[int, int], str]:
        """The recorded worker of each (generation id, shard); "" where there is none."""
        with reading(self._engine) as connection:
            return catalog.read_placements(connection)
