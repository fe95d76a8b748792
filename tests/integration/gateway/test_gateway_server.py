"""The gateway as a server: health, reflection, limits, ports, draining; and calls about collections, models and status."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shoal.cluster.errors import ListenError
from shoal.cluster.gateway.grpc.public_server import SERVICES
from shoal.cluster.gateway.server import GatewayServer
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.ledger.connection import migrate, open_engine, sqlite_url
from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.cluster.limits import RequestLimits
from shoal.v1 import collections_pb2, documents_pb2, errors_pb2, search_pb2, status_pb2
from support.gateway.small_cluster import CREDENTIALS, DIMENSION, SmallCluster, eventually, packed, refused

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_health_and_reflection_answer(cluster: SmallCluster) -> None:
    health: Any = health_pb2_grpc.HealthStub(cluster.channel)
    for service in ("", *SERVICES):
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == SERVING
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cluster.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = list(reflection.ServerReflectionInfo(iter([request])))
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {"shoal.v1.SearchService", "shoal.v1.DocumentService", "shoal.v1.StatusService", "grpc.health.v1.Health"}


def test_a_gateway_without_a_coordinator_is_up_but_not_serving(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.sqlite")
    engine = open_engine(url, read_only=False)
    migrate(engine)
    engine.dispose()
    gateway = GatewayServer(GatewaySettings("127.0.0.1:0", url, CREDENTIALS))
    with grpc.insecure_channel(gateway.start()) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
    gateway.drain(1)


def test_a_missing_ledger_is_reported_in_one_line(tmp_path: Path) -> None:
    for url in (sqlite_url(tmp_path / "absent.sqlite"), sqlite_url(tmp_path)):
        with pytest.raises(LedgerUnreadable) as caught:
            GatewayServer(GatewaySettings("127.0.0.1:0", url, CREDENTIALS)).start()
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_port_in_use_is_an_error(cluster: SmallCluster) -> None:
    second = GatewayServer(GatewaySettings(cluster.gateway.address, cluster.url, CREDENTIALS))
    with pytest.raises(ListenError, match=f"cannot listen on {cluster.gateway.address}: Address already in use"):
        second.start()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError, match="Address already in use"):
            GatewayServer(GatewaySettings(address, cluster.url, CREDENTIALS)).start()
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0"):
        GatewayServer(GatewaySettings("192.0.2.1:0", cluster.url, CREDENTIALS)).start()


def test_messages_over_the_limit(tmp_path: Path) -> None:
    cluster = SmallCluster(tmp_path, limits=RequestLimits(message_bytes=20_000))
    try:
        cluster.wait_ready()
        cluster.create("papers")
        large = documents_pb2.Document(id="a", text="x" * 30_000)
        assert refused(lambda: cluster.upsert("papers", large))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        for n in range(5):
            cluster.upsert("papers", documents_pb2.Document(id=str(n), text="word " * 1500))
        cluster.coordinator.reconcile()
        search = search_pb2.SearchRequest(collection="papers", text="word", k=5, include_text=True)
        code, detail = refused(lambda: cluster.searches.Search(search))
        assert (code, detail.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE)
        assert detail.limit == 20_000
        search.k = 2
        assert len(cluster.searches.Search(search).hits) == 2
    finally:
        cluster.close()


def test_a_drain_lets_calls_finish_and_refuses_new_ones(cluster: SmallCluster) -> None:
    cluster.create("papers")
    token = cluster.upsert_texts("papers", {"a": "words"})
    search = search_pb2.SearchRequest(collection="papers", text="words", k=1, token=token)
    call = cluster.searches.Search.future(search, timeout=10)
    health: Any = health_pb2_grpc.HealthStub(cluster.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == SERVING
    time.sleep(0.2)
    draining = threading.Thread(target=cluster.gateway.drain, args=(8,))
    began = time.monotonic()
    draining.start()
    assert next(watch).status == NOT_SERVING
    time.sleep(0.2)
    assert not call.done()
    with grpc.insecure_channel(cluster.gateway.address) as channel:
        late: Any = health_pb2_grpc.HealthStub(channel)
        assert refused(lambda: late.Check(health_pb2.HealthCheckRequest(), timeout=2))[0] is grpc.StatusCode.UNAVAILABLE
    cluster.coordinator.reconcile()
    assert [hit.id for hit in call.result().hits] == ["a"]
    draining.join(8)
    # The watch that is still open does not use up the grace.
    assert time.monotonic() - began < 5


def test_a_drain_ends_a_stream_after_its_answers(cluster: SmallCluster) -> None:
    cluster.create("papers")
    hold = threading.Event()

    def batches() -> Iterator[documents_pb2.UpsertStreamRequest]:
        yield documents_pb2.UpsertStreamRequest(collection="papers", documents=[documents_pb2.Document(id="a", text="b")])
        hold.wait(10)

    stream = cluster.documents.UpsertStream(batches())
    assert next(stream).token
    began = time.monotonic()
    cluster.gateway.drain(8)
    assert refused(lambda: next(stream))[0] is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - began < 5
    hold.set()


def test_a_drain_never_runs_two_stops_of_the_server_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC's server ends the process when one stop cancels calls just after another has freed it."""
    make, at_work, most = grpc.aio.server, 0, 0

    def watched(**given: Any) -> grpc.aio.Server:
        server = make(**given)
        stop = server.stop

        async def counted(grace: float | None) -> None:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            try:
                await stop(grace)
            finally:
                at_work -= 1

        monkeypatch.setattr(server, "stop", counted)
        return server

    monkeypatch.setattr(grpc.aio, "server", watched)
    url = sqlite_url(tmp_path / "ledger.sqlite")
    engine = open_engine(url, read_only=False)
    migrate(engine)
    engine.dispose()
    for grace_s in (0, 1):
        gateway = GatewayServer(GatewaySettings("127.0.0.1:0", url, CREDENTIALS))
        with grpc.insecure_channel(gateway.start()) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == NOT_SERVING
            gateway.drain(grace_s)
    assert (at_work, most) == (0, 1)


def test_collections_are_created_listed_shown_and_dropped(cluster: SmallCluster) -> None:
    created = cluster.create("papers", shards=3, metric=2, index=2)
    assert (created.settings.dimension, created.generation, len(created.shards)) == (DIMENSION, 1, 3)
    assert created.fingerprint == cluster.coordinator.model.fingerprint
    cluster.create("zoo", dimension=4)
    cluster.upsert_texts("papers", {f"d{n}": f"text {n}" for n in range(9)})
    listed = cluster.collections.ListCollections(collections_pb2.ListCollectionsRequest()).collections
    assert [(one.name, one.documents, one.pending) for one in listed] == [("papers", 9, 9), ("zoo", 0, 0)]
    assert listed[0].lag_ms >= 0
    cluster.coordinator.reconcile()
    cluster.coordinator.publish()

    def shown() -> collections_pb2.Collection:
        return cluster.collections.GetCollection(collections_pb2.GetCollectionRequest(name="papers")).collection

    eventually(lambda: sum(shard.delta_rows for shard in shown().shards) == 9)
    assert all(shard.ready and shard.address for shard in shown().shards)
    assert [shard.worker for shard in shown().shards] == ["index-0", "index-1", "index-0"]
    assert sum(shard.documents for shard in shown().shards) == 9
    code, detail = refused(lambda: cluster.create("papers"))
    assert (code, detail.reason) == (grpc.StatusCode.ALREADY_EXISTS, errors_pb2.ERROR_REASON_COLLECTION_EXISTS)
    drop = collections_pb2.DropCollectionRequest(name="papers")
    assert cluster.collections.DropCollection(drop).documents == 9
    assert refused(lambda: cluster.collections.DropCollection(drop))[0] is grpc.StatusCode.NOT_FOUND
    assert refused(shown)[0] is grpc.StatusCode.NOT_FOUND


def test_bad_collections(cluster: SmallCluster) -> None:
    assert refused(lambda: cluster.create("a b"))[1].field == "name"
    assert refused(lambda: cluster.create("papers", shards=257))[1].limit == 256
    code, detail = refused(lambda: cluster.create("papers", model="/no/such/folder"))
    assert (code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, errors_pb2.ERROR_REASON_INVALID_MODEL)
    assert "/no/such/folder" in detail.message


def test_a_search_right_after_a_drop_and_a_new_start_uses_the_new_collection(cluster: SmallCluster) -> None:
    cluster.create("papers")
    token = cluster.upsert_texts("papers", {"old": "words"})
    cluster.coordinator.reconcile()
    search = search_pb2.SearchRequest(collection="papers", text="words", k=5)
    assert [hit.id for hit in cluster.searches.Search(search).hits] == ["old"]
    cluster.collections.DropCollection(collections_pb2.DropCollectionRequest(name="papers"))
    cluster.create("papers", dimension=2)
    assert refused(lambda: cluster.searches.Search(search))[1].field == "text"
    by_vector = search_pb2.SearchRequest(collection="papers", vector=packed([1, 0]), k=5, token=token)
    assert refused(lambda: cluster.searches.Search(by_vector))[1].field == "token"
    by_vector.token = ""
    assert not cluster.searches.Search(by_vector).hits


def test_describe_and_status(cluster: SmallCluster) -> None:
    described = cluster.status.Describe(status_pb2.DescribeRequest())
    assert (described.api, described.limits.k, described.limits.text_bytes) == ("shoal.v1", 1000, 65536)
    assert described.version and described.python and described.ray
    assert all(getattr(described.limits, field.name) > 0 for field in status_pb2.Limits.DESCRIPTOR.fields)
    cluster.create("papers")
    status = cluster.status.Status(status_pb2.StatusRequest())
    assert status.coordinator_epoch == cluster.coordinator.epoch
    assert [one.name for one in status.collections] == ["papers"]
    gateway = next(one for one in status.processes if one.kind == status_pb2.PROCESS_KIND_GATEWAY)
    assert (gateway.address, gateway.state) == (cluster.gateway.address, status_pb2.PROCESS_STATE_READY)


def test_a_defect_inside_the_cluster_is_reported_in_one_line(cluster: SmallCluster) -> None:
    cluster.create("papers")

    def broken() -> None:
        raise KeyError("two\nlines")

    cluster.coordinator.before_write = broken
    code, detail = refused(lambda: cluster.upsert_texts("papers", {"a": "b"}))
    assert (code, detail.reason) == (grpc.StatusCode.INTERNAL, errors_pb2.ERROR_REASON_INTERNAL)
    assert "\n" not in detail.message
