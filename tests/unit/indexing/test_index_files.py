"""Segment and sealed files: they are read back unchanged, and any damage is detected."""

from __future__ import annotations

import gc
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shoal.workers.indexing.files.sealed_file import read_sealed
from shoal.workers.indexing.files.sealing import load, seal
from shoal.workers.indexing.files.segment_file import read_segment, write_segment
from shoal.workers.indexing.files.storage import DamagedFile, Storage
from shoal.workers.indexing.kinds.registry import KINDS
from shoal.workers.indexing.manifest import IndexSpec, ManifestInfo, SegmentInfo
from shoal.workers.indexing.rows import Rows
from support.models.indexes import clustered
from support.models.shard_model import rows_from

SPEC = IndexSpec("flat", "cosine", 2)


def _manifest(*segments: SegmentInfo, spec: IndexSpec = SPEC) -> ManifestInfo:
    return ManifestInfo(3, 1, spec, None, segments)


def _segment(storage: Storage, ordinal: int = 1) -> SegmentInfo:
    rows = rows_from([("a", 1, [3, 4]), ("gone", 9, None), ("ü/ 語", 2, [0, 5]), ("a", 3, None)], 2)
    return write_segment(storage, 3, 1, ordinal, rows, epoch=5)


def test_a_segment_is_read_back_unchanged(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    segment = _segment(storage)
    assert segment.path.startswith("3/1/segment-0000000001-5-")
    assert (segment.rows, segment.bytes) == (4, (tmp_path / segment.path).stat().st_size)
    rows = read_segment(storage, _manifest(segment), segment)
    assert rows.ids == ["a", "gone", "ü/ 語", "a"]
    assert rows.versions.tolist() == [1, 9, 2, 3]
    assert rows.deleted.tolist() == [False, True, False, True]
    assert rows.vectors.tolist() == [[3, 4], [0, 5]]


def test_a_segment_of_deletions_alone_is_read_back(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    segment = write_segment(storage, 3, 1, 1, rows_from([("a", 2, None)], 2))
    rows = read_segment(storage, _manifest(segment), segment)
    assert (rows.ids, rows.vectors.shape) == (["a"], (0, 2))


def test_two_attempts_at_one_ordinal_do_not_share_a_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert _segment(storage).path != _segment(storage).path


def test_a_segment_is_plain_arrow(tmp_path: Path) -> None:
    segment = _segment(Storage(str(tmp_path)))
    table = pa.ipc.open_file(str(tmp_path / segment.path)).read_all()
    assert table.column("vector").to_pylist() == [[3, 4], None, [0, 5], None]
    assert (table.schema.metadata or {})[b"shoal.ordinal"] == b"1"


@pytest.mark.parametrize("offset", [0, 40, 0.3, 0.5, 0.8, -1])
def test_a_flipped_byte_is_detected(tmp_path: Path, offset: float) -> None:
    storage = Storage(str(tmp_path))
    segment = _segment(storage)
    data = bytearray((tmp_path / segment.path).read_bytes())
    data[int(offset * len(data)) if isinstance(offset, float) else offset] ^= 1
    (tmp_path / segment.path).write_bytes(data)
    with pytest.raises(DamagedFile, match="checksum"):
        read_segment(storage, _manifest(segment), segment)


def test_an_intact_file_at_the_wrong_path_is_damage(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    segment = _segment(storage)
    for manifest, info in (
        (replace(_manifest(segment), shard=2), segment),
        (replace(_manifest(segment), generation=4), segment),
        (_manifest(segment), replace(segment, ordinal=2)),
        (_manifest(segment, spec=replace(SPEC, dimension=4)), segment),
    ):
        with pytest.raises(DamagedFile, match="unreadable"):
            read_segment(storage, manifest, info)


def test_bytes_that_are_not_an_arrow_file_are_damage(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    segment = SegmentInfo(1, "3/1/x", storage.write("3/1/x", b"ARROW1 but not really"), 1, 21)
    with pytest.raises(DamagedFile, match="unreadable"):
        read_segment(storage, _manifest(segment), segment)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_sealed_file_answers_like_its_segments(tmp_path: Path, kind: str, metric: str) -> None:
    storage, spec = Storage(str(tmp_path)), IndexSpec(kind, metric, 8)
    data = clustered(1500, 8, 40)
    segments: list[SegmentInfo] = []
    for ordinal in (1, 2, 3):
        part = data[(ordinal - 1) * 500 : ordinal * 500]
        rows = [(f"{ordinal}-{i}", ordinal, one.tolist()) for i, one in enumerate(part)]
        rows += [(f"{ordinal - 1}-{i}", ordinal, None) for i in range(50)]
        segments.append(write_segment(storage, 3, 1, ordinal, rows_from(rows, 8)))
    manifest = _manifest(*segments, spec=spec)
    sealed = seal(str(tmp_path), manifest)
    assert (sealed.through, sealed.rows) == (3, 1400)
    before, after = load(storage, manifest), load(storage, ManifestInfo(3, 1, spec, sealed, ()))
    stats = after.stats()
    assert (stats.through, stats.live, stats.sealed_rows, stats.sealed_dead, stats.segments) == (3, 1400, 1400, 0, 0)
    queries = clustered(10, 8, 41)
    # Twenty of 1,400: the graph too is searched widely enough to be exact here.
    assert before.search(queries, 20).ids == after.search(queries, 20).ids
    assert before.search(queries, 20).scores == after.search(queries, 20).scores
    assert after.lookup(["1-0", "1-50", "0-0"]) == [0, 1, 0]
    again = seal(str(tmp_path), ManifestInfo(3, 1, spec, sealed, ()))
    assert again.checksum == sealed.checksum and again.path != sealed.path


def test_deletions_stay_in_the_sealed_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    first = write_segment(storage, 3, 1, 1, rows_from([("a", 1, [1, 0]), ("a", 5, None), ("b", 5, None)], 2))
    sealed = seal(str(tmp_path), _manifest(first))
    assert sealed.rows == 0
    second = write_segment(storage, 3, 1, 2, rows_from([("a", 4, [1, 0]), ("b", 6, [1, 0])], 2))
    once = ManifestInfo(3, 1, SPEC, sealed, (second,))
    twice = ManifestInfo(3, 1, SPEC, seal(str(tmp_path), once), ())
    for manifest in (once, twice):
        assert load(storage, manifest).lookup(["a", "b"]) == [0, 6]
    part = read_sealed(storage, twice, twice.sealed) if twice.sealed else None
    assert part is not None and part.deleted_ids == ["a"]


def test_damage_of_a_sealed_file_is_detected(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    sealed = seal(str(tmp_path), _manifest(_segment(storage)))
    manifest = ManifestInfo(3, 1, SPEC, sealed, ())
    with pytest.raises(DamagedFile, match=r"unreadable.*kind"):
        read_sealed(storage, replace(manifest, spec=replace(SPEC, kind="hnsw")), sealed)
    data = (tmp_path / sealed.path).read_bytes()
    (tmp_path / sealed.path).write_bytes(data[:-9])
    with pytest.raises(DamagedFile, match="checksum"):
        read_sealed(storage, manifest, sealed)
    (tmp_path / sealed.path).unlink()
    with pytest.raises(DamagedFile, match="missing"):
        seal(str(tmp_path), manifest)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_open_part_does_not_hold_its_file_in_memory(tmp_path: Path, kind: str) -> None:
    storage, spec = Storage(str(tmp_path)), replace(SPEC, kind=kind)
    sealed = seal(str(tmp_path), _manifest(_segment(storage), spec=spec))
    held = pa.total_allocated_bytes()
    part = read_sealed(storage, ManifestInfo(3, 1, spec, sealed, ()), sealed)
    gc.collect()
    assert len(part.ids) == 1
    assert pa.total_allocated_bytes() <= held


def test_nothing_to_seal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shard 3/1 has nothing to seal"):
        seal(str(tmp_path), _manifest())


def test_the_seal_function_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(seal)) is seal


@pytest.mark.parametrize(
    ("ids", "versions", "deleted", "vectors", "named"),
    [
        (["a"], [1, 2], [False], [[1.0]], "versions"),
        (["a"], [1], [False, True], [[1.0]], "deleted"),
        (["a", "b"], [1, 1], [False, True], [[1.0], [2.0]], "vectors"),
        (["a", ""], [1, 1], [False, False], [[1.0], [2.0]], "ids"),
        (["a", "b"], [1, 0], [False, False], [[1.0], [2.0]], "version 0 of row 1"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    ids: list[str], versions: list[int], deleted: list[bool], vectors: list[list[float]], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        Rows(ids, np.array(versions, np.int64), np.array(deleted, np.bool_), np.array(vectors, np.float32))
