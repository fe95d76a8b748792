"""The durable files of each shard: segments and sealed indexes, and the effects of adding or losing one."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, case, delete, insert, literal, null, select, update

from shoal.cluster.decisions.admission import PRIORITY_BACKFILL, PRIORITY_REMOVAL
from shoal.cluster.ledger import catalog, schema
from shoal.cluster.ledger.errors import OrdinalTaken, ShardNotFound
from shoal.cluster.ledger.records import SegmentCommit
from shoal.workers.indexing import ManifestInfo, SealedInfo, SegmentInfo

_entry, _shard, _segment = schema.entry, schema.shard, schema.segment


def read_manifest(connection: Connection, generation_id: int, shard: int) -> ManifestInfo:
    """See LedgerProgress.manifest."""
    generation = catalog.find_generations(connection, [generation_id]).get(generation_id)
    row = _find(connection, generation_id, shard)
    if generation is None or row is None:
        raise ShardNotFound(generation_id, shard)
    columns = (_segment.c.ordinal, _segment.c.path, _segment.c.checksum, _segment.c.rows, _segment.c.bytes)
    segments = connection.execute(select(*columns).where(*_segments_of(generation_id, shard)).order_by(_segment.c.ordinal))
    return ManifestInfo(
        generation=generation_id,
        shard=shard,
        spec=generation.spec,
        sealed=_sealed(row),
        segments=tuple(SegmentInfo(*segment) for segment in segments),
        damage_count=row.damage_count,
    )


def read_next_ordinals(connection: Connection, generation_id: int) -> dict[int, int]:
    """See LedgerProgress.next_ordinals."""
    rows = connection.execute(select(_shard.c.number, _shard.c.next_ordinal).where(_shard.c.generation_id == generation_id))
    return {row.number: row.next_ordinal for row in rows}


def commit_segments(connection: Connection, commits: Sequence[SegmentCommit]) -> list[str]:
    """See LedgerProgress.commit_segments."""
    live = catalog.find_generations(connection, list({commit.generation_id for commit in commits}))
    orphans = [commit.segment.path for commit in commits if commit.generation_id not in live]
    kept = [commit for commit in commits if commit.generation_id in live]
    for commit in kept:
        row = _find(connection, commit.generation_id, commit.shard)
        if row is None:
            raise ShardNotFound(commit.generation_id, commit.shard)
        ordinal = commit.segment.ordinal
        if ordinal < row.next_ordinal:
            raise OrdinalTaken(commit.generation_id, commit.shard, ordinal, row.next_ordinal)
        connection.execute(
            insert(_segment).values(
                generation_id=commit.generation_id,
                shard=commit.shard,
                ordinal=ordinal,
                path=commit.segment.path,
                checksum=commit.segment.checksum,
                rows=commit.segment.rows,
                bytes=commit.segment.bytes,
            )
        )
        connection.execute(
            update(_shard).where(*_is_shard(commit.generation_id, commit.shard)).values(next_ordinal=ordinal + 1)
        )
    applied = [
        {
            "of_generation": commit.generation_id,
            "of_document": document.id,
            "applied_version": document.version,
            "applied_ordinal": commit.segment.ordinal,
            "cut_short": document.truncated,
        }
        for commit in kept
        for document in commit.applied
    ]
    if applied:
        connection.execute(_APPLY, applied)
    return orphans


def commit_sealed(connection: Connection, generation_id: int, shard: int, sealed: SealedInfo) -> list[str]:
    """See LedgerProgress.commit_sealed."""
    row = _find(connection, generation_id, shard)
    if row is None or (row.sealed_through is not None and row.sealed_through >= sealed.through):
        return [sealed.path]
    covered = and_(*_segments_of(generation_id, shard), _segment.c.ordinal <= sealed.through)
    obsolete = list(connection.execute(select(_segment.c.path).where(covered).order_by(_segment.c.ordinal)).scalars())
    if row.sealed_path is not None:
        obsolete.append(row.sealed_path)
    connection.execute(delete(_segment).where(covered))
    connection.execute(update(_shard).where(*_is_shard(generation_id, shard)).values(**_sealed_columns(sealed)))
    return obsolete


def forget_damaged(
    connection: Connection,
    generation_id: int,
    shard: int,
    ordinals: Collection[int],
    sealed: bool,
    sealed_through: int | None,
) -> int:
    """See LedgerProgress.report_damage."""
    row = _find(connection, generation_id, shard)
    if row is None:
        return 0
    lost: list[ColumnElement[bool]] = []
    named = set(connection.execute(select(_segment.c.ordinal).where(*_segments_of(generation_id, shard))).scalars())
    # A segment that is no longer in the manifest is covered by a sealed index: its rows are safe.
    damaged = sorted(named.intersection(ordinals))
    if damaged:
        lost.append(_entry.c.ordinal.in_(damaged))
        connection.execute(delete(_segment).where(*_segments_of(generation_id, shard), _segment.c.ordinal.in_(damaged)))
    if sealed and row.sealed_through is not None and sealed_through in (None, row.sealed_through):
        lost.append(and_(_entry.c.ordinal > 0, _entry.c.ordinal <= row.sealed_through))
        connection.execute(update(_shard).where(*_is_shard(generation_id, shard)).values(**_sealed_columns(None)))
    if lost:
        counted = update(_shard).where(*_is_shard(generation_id, shard)).values(damage_count=_shard.c.damage_count + 1)
        connection.execute(counted)
    # Repairs wait behind live edits; a document that was already pending keeps its priority.
    was_done = _entry.c.embedded_version >= _entry.c.wanted_version
    repair = case((_entry.c.removal, PRIORITY_REMOVAL), else_=PRIORITY_BACKFILL)
    count = 0
    for condition in lost:
        count += connection.execute(
            update(_entry)
            .where(_entry.c.generation_id == generation_id, _entry.c.shard == shard, condition)
            .values(embedded_version=0, ordinal=0, priority=case((was_done, repair), else_=_entry.c.priority))
        ).rowcount
    return count


_IS_NEWEST = bindparam("applied_version") >= _entry.c.wanted_version
# A segment with an older version must not reset the attempts counted for the wanted version.
_APPLY = (
    update(_entry)
    .where(
        _entry.c.generation_id == bindparam("of_generation"),
        _entry.c.document_id == bindparam("of_document"),
        _entry.c.embedded_version < bindparam("applied_version"),
    )
    .values(
        embedded_version=bindparam("applied_version"),
        ordinal=bindparam("applied_ordinal"),
        truncated=bindparam("cut_short"),
        error=case((_IS_NEWEST, literal("", schema.Utf8())), else_=_entry.c.error),
        attempts=case((_IS_NEWEST, 0), else_=_entry.c.attempts),
        next_attempt_at_ms=case((_IS_NEWEST, 0), else_=_entry.c.next_attempt_at_ms),
        failed_at_ms=case((_IS_NEWEST, null()), else_=_entry.c.failed_at_ms),
    )
)


def _is_shard(generation_id: int, number: int) -> tuple[ColumnElement[bool], ...]:
    return _shard.c.generation_id == generation_id, _shard.c.number == number


def _segments_of(generation_id: int, shard: int) -> tuple[ColumnElement[bool], ...]:
    return _segment.c.generation_id == generation_id, _segment.c.shard == shard


def _find(connection: Connection, generation_id: int, number: int) -> Row[Any] | None:
    return connection.execute(select(_shard).where(*_is_shard(generation_id, number))).first()


def _sealed(row: Row[Any]) -> SealedInfo | None:
    if row.sealed_through is None:
        return None
    return SealedInfo(row.sealed_through, row.sealed_path, row.sealed_checksum, row.sealed_rows, row.sealed_bytes)


def _sealed_columns(sealed: SealedInfo | None) -> dict[str, int | str | None]:
    return {
        "sealed_through": sealed.through if sealed else None,
        "sealed_path": sealed.path if sealed else None,
        "sealed_checksum": sealed.checksum if sealed else None,
        "sealed_rows": sealed.rows if sealed else None,
        "sealed_bytes": sealed.bytes if sealed else None,
    }
