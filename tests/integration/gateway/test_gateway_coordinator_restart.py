"""Calls that need the coordinator while it restarts: the gateway waits for it, so that one call is enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from shoal.v1 import collections_pb2, documents_pb2
from support.gateway.small_cluster import SmallCluster, refused


def document(id: str = "a", **fields: Any) -> documents_pb2.Document:
    return documents_pb2.Document(id=id, text="words", **fields)


def upload(cluster: SmallCluster) -> list[documents_pb2.UpsertStreamResponse]:
    batches = [
        documents_pb2.UpsertStreamRequest(collection="papers", documents=[document(str(number))], sequence=number)
        for number in (1, 2, 3)
    ]
    return list(cluster.documents.UpsertStream(iter(batches), timeout=20))


CALLS: dict[str, Callable[[SmallCluster], object]] = {
    "upsert": lambda cluster: cluster.upsert("papers", document()),
    "delete": lambda cluster: cluster.documents.Delete(
        documents_pb2.DeleteRequest(collection="papers", ids=["a"]), timeout=10
    ),
    "create": lambda cluster: cluster.create("new"),
    "drop": lambda cluster: cluster.collections.DropCollection(
        collections_pb2.DropCollectionRequest(name="dropped"), timeout=10
    ),
    "upload": upload,
}


def test_callers_that_retry_nothing_do_not_notice_a_restart(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.create("dropped")
    cluster.coordinator.stop()
    failed: dict[str, Exception] = {}
    done: list[str] = []

    def call(name: str) -> None:
        try:
            CALLS[name](cluster)
            done.append(name)
        except grpc.RpcError as error:
            failed[name] = error

    threads = [threading.Thread(target=call, args=(name,)) for name in CALLS]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    assert not done
    cluster.coordinator.serve()
    for thread in threads:
        thread.join(20)
    assert failed == {} and sorted(done) == sorted(CALLS)


def test_a_write_with_a_condition_is_not_made_twice(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.coordinator.stop()
    # It would be written if the gateway waited for this.
    later = threading.Timer(0.5, cluster.coordinator.serve)
    later.start()
    code, detail = refused(lambda: cluster.upsert("papers", document(expected_version=0)))
    later.join()
    assert code is grpc.StatusCode.UNAVAILABLE and detail.retry_after_ms > 0


def test_the_wait_ends_before_the_callers_deadline(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.coordinator.stop()
    request = documents_pb2.UpsertRequest(collection="papers", documents=[document()])
    code, detail = refused(lambda: cluster.documents.Upsert(request, timeout=1.0))
    assert code is grpc.StatusCode.UNAVAILABLE and "the coordinator" in detail.message


@pytest.mark.usefixtures("impatient_gateway")
def test_the_wait_has_a_bound(cluster: SmallCluster) -> None:
    cluster.create("papers")
    cluster.coordinator.stop()
    code, detail = refused(lambda: cluster.upsert("papers", document()))
    assert code is grpc.StatusCode.UNAVAILABLE and detail.retry_after_ms > 0
