"""IndexService over real gRPC, as a coordinator and a gateway see it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from shoal.internal.v1 import index_pb2 as pb
from shoal.internal.v1 import index_pb2_grpc
from shoal.workers.indexing import messages
from shoal.workers.indexing.files.sealing import seal
from shoal.workers.indexing.files.storage import Storage
from shoal.workers.indexing.host import Key, ShardHost
from shoal.workers.indexing.manifest import IndexSpec, ManifestInfo, SealedInfo, SegmentInfo
from shoal.workers.indexing.metric import Floats
from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.service import IndexServicer
from shoal.workers.indexing.shard.shard import Hits
from shoal.workers.runtime import InternalCredentials, InternalServer, internal_options
from support.models.shard_model import Row, rows_from

SPEC = IndexSpec("hnsw", "cosine", 4)
KEY = pb.ShardKey(generation=3, shard=1)


class WatchedHost(ShardHost):
    """Signals when a search has arrived, and can hold searches back."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.arrived = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def reached(self, key: Key, ordinal: int) -> Future[None]:
        future = super().reached(key, ordinal)
        self.arrived.release()
        return future

    def search(self, key: Key, queries: Floats, k: int) -> Hits:
        self.started.release()
        assert self.gate.wait(20)
        return super().search(key, queries, k)


class Worker:
    """An index worker in this process, and calls to it as the coordinator makes them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.host = WatchedHost(Storage(root))
        self.servicer = IndexServicer(self.host, threads=2)
        self.server = InternalServer(self.servicer.register, InternalCredentials("secret"))
        self.channel = grpc.insecure_channel(self.server.start(), options=internal_options())
        self.stub = index_pb2_grpc.IndexServiceStub(self.channel)
        self.secret = InternalCredentials("secret").metadata()

    def close(self) -> None:
        self.channel.close()
        self.server.stop(0)
        self.servicer.close()

    def stage(self, ordinal: int, rows: Sequence[Row], epoch: int = 1) -> SegmentInfo:
        request = pb.StageRequest(
            epoch=epoch,
            key=KEY,
            spec=messages.spec_message(SPEC),
            ordinal=ordinal,
            rows=packed(rows_from(rows, SPEC.dimension)),
        )
        return messages.segment_of(self.stub.Stage(request, metadata=self.secret).segment)

    def sync(self, *segments: SegmentInfo, sealed: SealedInfo | None = None, epoch: int = 1) -> pb.SyncResponse:
        request = pb.SyncRequest(epoch=epoch, manifest=messages.manifest_message(manifest(*segments, sealed=sealed)))
        return self.stub.Sync(request, metadata=self.secret)

    def search(
        self, query: Sequence[float], k: int, min_ordinal: int = 0, timeout: float = 20, shard: int = 1
    ) -> pb.ShardHits:
        packed = np.array(query, dtype="<f4").tobytes()
        key = pb.ShardKey(generation=3, shard=shard)
        request = pb.SearchShardRequest(query=pb.ShardQuery(key=key, min_ordinal=min_ordinal, vectors=packed, k=k))
        return self.stub.SearchShard(request, metadata=self.secret, timeout=timeout).hits


def packed(rows: Rows) -> pb.Rows:
    return pb.Rows(
        ids=rows.ids,
        versions=rows.versions.tolist(),
        deleted=rows.deleted.tolist(),
        vectors=rows.vectors.astype("<f4").tobytes(),
    )


def manifest(*segments: SegmentInfo, sealed: SealedInfo | None = None) -> ManifestInfo:
    return ManifestInfo(3, 1, SPEC, sealed, segments)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(str(tmp_path))
    yield worker
    worker.close()


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()


ROWS: list[Row] = [("a", 1, [1, 0, 0, 0]), ("b", 2, [1, 1, 0, 0]), ("gone", 3, None)]


def test_stage_sync_search_seal_and_describe(worker: Worker) -> None:
    first = worker.stage(1, ROWS)
    state = worker.sync(first).stats
    assert (state.key, state.through, state.live, state.delta_rows, state.segments) == (KEY, 1, 2, 2, 1)
    hits = worker.search([2, 0, 0, 0, 0, 3, 0, 0], k=5)
    assert list(hits.counts) == [2, 2]
    assert list(hits.ids) == ["a", "b", "b", "a"]
    assert list(hits.versions) == [1, 2, 2, 1]
    np.testing.assert_allclose(hits.scores, [1, np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-6)
    assert hits.through == 1
    sealed = seal(worker.root, manifest(first))
    second = worker.stage(2, [("b", 3, None), ("gone", 2, [1, 0, 0, 0])])
    state = worker.sync(second, sealed=sealed).stats
    assert (state.through, state.live, state.sealed_rows, state.sealed_dead) == (2, 1, 2, 1)
    assert list(worker.search([2, 0, 0, 0], k=5).ids) == ["a"]
    looked = worker.stub.Lookup(pb.LookupRequest(key=KEY, ids=["a", "b", "gone", "never"]), metadata=worker.secret)
    assert list(looked.versions) == [1, 0, 0, 0]
    described = worker.stub.DescribeShards(pb.DescribeShardsRequest(), metadata=worker.secret)
    assert (list(described.shards), described.pid) == ([state], os.getpid())


def test_another_worker_opens_the_same_shard_from_its_files(worker: Worker) -> None:
    first, second = worker.stage(1, ROWS), worker.stage(2, [("c", 1, [1, 0, 0, 1])])
    sealed = seal(worker.root, manifest(first))
    worker.sync(first, second)
    other = Worker(worker.root)
    try:
        other.sync(second, sealed=sealed)
        assert other.search([1, 0, 0, 0], k=9) == worker.search([1, 0, 0, 0], k=9)
    finally:
        other.close()


def test_a_search_waits_for_the_segment_it_needs(worker: Worker) -> None:
    worker.sync()
    segment = worker.stage(1, ROWS)
    answers: list[pb.ShardHits] = []
    searching = threading.Thread(target=lambda: answers.append(worker.search([1, 0, 0, 0], k=1, min_ordinal=1)))
    searching.start()
    # Waiting holds no thread: a search is answered while more wait than there are threads.
    waiting = [worker.stub.SearchShard.future(_waiting(5), metadata=worker.secret, timeout=20) for _ in range(8)]
    for _ in range(9):
        assert worker.host.arrived.acquire(timeout=20)
    assert worker.search([1, 0, 0, 0], k=1).through == 0
    assert answers == []
    worker.sync(segment)
    searching.join()
    assert (answers[0].through, list(answers[0].ids)) == (1, ["a"])
    for call in waiting:
        assert not call.done()
        call.cancel()


def _waiting(ordinal: int) -> pb.SearchShardRequest:
    return pb.SearchShardRequest(query=pb.ShardQuery(key=KEY, min_ordinal=ordinal, vectors=bytes(16), k=1))


def test_a_wait_ends_at_the_deadline(worker: Worker) -> None:
    worker.sync()
    began = time.monotonic()
    code, _ = refusal(lambda: worker.search([1, 0, 0, 0], k=1, min_ordinal=1, timeout=0.2))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 5
    assert worker.search([1, 0, 0, 0], k=1).through == 0


def test_a_search_that_is_given_up_in_the_queue_is_never_run(worker: Worker) -> None:
    worker.sync()
    worker.host.gate.clear()
    busy = [worker.stub.SearchShard.future(_waiting(0), metadata=worker.secret, timeout=20) for _ in range(2)]
    for _ in busy:
        assert worker.host.started.acquire(timeout=20)
    code, _ = refusal(lambda: worker.search([1, 0, 0, 0], k=1, timeout=0.2))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    # After a later answer on the same connection, the worker knows it too.
    worker.sync()
    worker.host.gate.set()
    for call in busy:
        call.result()
    worker.search([1, 0, 0, 0], k=1)
    assert worker.host.started.acquire(timeout=20)
    assert not worker.host.started.acquire(blocking=False)


def test_a_waiting_search_learns_that_the_shard_was_closed(worker: Worker) -> None:
    worker.sync()
    call = worker.stub.SearchShard.future(_waiting(1), metadata=worker.secret, timeout=20)
    assert worker.host.arrived.acquire(timeout=20)
    worker.stub.Release(pb.ReleaseRequest(epoch=1, key=KEY), metadata=worker.secret)
    assert refusal(call.result) == (grpc.StatusCode.NOT_FOUND, "shard 3/1 is not open here")


def test_unknown_shards(worker: Worker) -> None:
    expected = (grpc.StatusCode.NOT_FOUND, "shard 3/7 is not open here")
    assert refusal(lambda: worker.search([1, 0, 0, 0], k=1, shard=7)) == expected
    key = pb.ShardKey(generation=3, shard=7)
    assert refusal(lambda: worker.stub.Lookup(pb.LookupRequest(key=key, ids=["a"]), metadata=worker.secret)) == expected
    worker.stub.Release(pb.ReleaseRequest(epoch=1, key=key), metadata=worker.secret)


def test_bad_input_is_named(worker: Worker) -> None:
    worker.sync()
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert refusal(lambda: worker.search([1, 0, 0], k=1)) == (
        invalid,
        "query.vectors: 12 bytes are not whole rows of 4 float32 components",
    )
    assert refusal(lambda: worker.search([1, 0, 0, 0], k=0)) == (invalid, "k 0 is below 1")
    assert refusal(lambda: worker.search([1, float("nan"), 0, 0], k=1))[0] == invalid
    short = pb.StageRequest(epoch=1, key=KEY, spec=messages.spec_message(SPEC), ordinal=1)
    short.rows.ids.append("a")
    refused = refusal(lambda: worker.stub.Stage(short, metadata=worker.secret))
    assert refused == (invalid, "rows.versions: 0 versions for 1 ids")
    assert refusal(lambda: worker.stage(0, ROWS))[0] == invalid


def test_a_stale_epoch_is_refused(worker: Worker) -> None:
    segment = worker.stage(1, ROWS, epoch=2)
    expected = (grpc.StatusCode.FAILED_PRECONDITION, "epoch 1 has ended: a coordinator with epoch 2 has replaced it")
    assert refusal(lambda: worker.sync(segment, epoch=1)) == expected
    assert refusal(lambda: worker.stage(2, ROWS, epoch=1)) == expected
    release = pb.ReleaseRequest(epoch=1, key=KEY)
    assert refusal(lambda: worker.stub.Release(release, metadata=worker.secret)) == expected


def test_damage_is_reported_and_the_old_state_stays(worker: Worker) -> None:
    first, second = worker.stage(1, ROWS), worker.stage(2, [("c", 1, [1, 0, 0, 1])])
    sealed = seal(worker.root, manifest(first))
    other = Worker(worker.root)
    try:
        other.sync(first)
        (Path(worker.root) / second.path).write_bytes(b"")
        (Path(worker.root) / sealed.path).unlink()
        answer = other.sync(second, sealed=sealed)
        assert (list(answer.damaged_ordinals), answer.sealed_damaged, answer.stats.through) == ([2], True, 1)
        assert list(other.search([1, 0, 0, 0], k=5).ids) == ["a", "b"]
    finally:
        other.close()


def test_a_full_disk_is_unavailable_with_its_reason(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, message = refusal(lambda: worker.stage(1, ROWS))
    assert code == grpc.StatusCode.UNAVAILABLE and "No space left on device" in message


def test_calls_without_the_secret_are_refused(worker: Worker) -> None:
    code, _ = refusal(lambda: worker.stub.DescribeShards(pb.DescribeShardsRequest()))
    assert code == grpc.StatusCode.UNAUTHENTICATED


def test_many_searches_at_once_during_syncs(worker: Worker) -> None:
    rows: list[Row] = [(f"d{i}", 1, [1, i, 0, 0]) for i in range(50)]
    segments = [worker.stage(1, rows)]
    worker.sync(*segments)
    calls = []
    for ordinal in range(2, 12):
        request = _waiting(ordinal)
        request.query.k = 50
        calls += [worker.stub.SearchShard.future(request, metadata=worker.secret, timeout=20) for _ in range(5)]
        segments.append(worker.stage(ordinal, [(one, ordinal, vector) for one, _, vector in rows]))
        worker.sync(*segments)
    for call in calls:
        hits = call.result().hits
        assert list(hits.counts) == [50]
        assert set(hits.versions) == {hits.through}
