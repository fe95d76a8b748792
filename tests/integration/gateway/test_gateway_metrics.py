"""Metrics for Prometheus, scraped over HTTP from a gateway with some calls to count."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shoal.cluster.errors import ListenError
from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.gateway.backends.query_cache import QueryCache
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.metrics import GatewayCollector, MetricsServer
from shoal.cluster.gateway.paths.room import GatewayMemory
from shoal.cluster.gateway.server import GatewayServer
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.routing import RoutingTable
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import embedding_pb2, search_pb2, status_pb2
from shoal.workers.runtime import MessageParser
from support.gateway.small_cluster import CREDENTIALS, MODEL, SmallCluster, eventually, refused

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(address: str) -> Samples:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain")
        text = reply.read().decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[SmallCluster]:
    cluster = SmallCluster(tmp_path, metrics_listen="127.0.0.1:0")
    try:
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.close()


def test_the_gateways_counters_can_be_scraped(measured: SmallCluster) -> None:
    address = measured.gateway.metrics_address
    before = scraped(address)
    assert ("shoal_requests_total", frozenset({("method", "Embed"), ("status", "OK")})) not in before
    query = embedding_pb2.EmbedRequest(model=MODEL, texts=["tidal locking", " "], role=embedding_pb2.ROLE_QUERY)
    document = embedding_pb2.EmbedRequest(model=MODEL, texts=["one two three", "four"])
    for request in (query, query, document):
        measured.embedding.Embed(request)
    refused(lambda: measured.embedding.Embed(embedding_pb2.EmbedRequest(model=MODEL)))
    for _ in range(2):
        refused(lambda: measured.channel.unary_unary("/shoal.v1.SearchService/Search")(b"\xff"))
    stream = [embedding_pb2.EmbedStreamRequest(id=1, embed=document)]
    list(measured.embedding.EmbedStream(iter(stream)))
    measured.create("papers")
    measured.upsert_texts("papers", {"a": "words"})
    measured.coordinator.reconcile()
    measured.searches.Search(search_pb2.SearchRequest(collection="papers", text="tidal locking", k=1))

    # A stream is counted when its last handler step has run, just after the client has its last answer.
    def now() -> Samples:
        return scraped(address)

    ended = ("shoal_requests_total", frozenset({("method", "EmbedStream"), ("status", "OK")}))
    eventually(lambda: ended in now())
    after = now()
    assert value(after, "shoal_requests_total", method="Embed", status="OK") == 3
    assert value(after, "shoal_requests_total", method="Embed", status="INVALID_ARGUMENT") == 1
    assert value(after, "shoal_request_seconds_count", method="Embed") == 4
    assert value(after, "shoal_request_seconds_bucket", method="Embed", le="+Inf") == 4
    assert 0 < value(after, "shoal_request_seconds_sum", method="Embed") < 10
    assert value(after, "shoal_requests_in_flight") == 0
    assert value(after, "shoal_malformed_requests_total", method="Search") == 2
    assert value(after, "shoal_requests_total", method="Search", status="INVALID_ARGUMENT") == 2
    held = ("shoal_request_bytes", "shoal_request_waiting_bytes", "shoal_reply_bytes")
    eventually(lambda: all(value(now(), name) == 0 for name in held))
    assert value(after, "shoal_embedded_texts_total", role="query") == 2
    assert value(after, "shoal_embedded_tokens_total", role="query") == 4
    assert value(after, "shoal_embedded_texts_total", role="document") == 4
    assert value(after, "shoal_embedded_tokens_total", role="document") == 8
    assert value(after, "shoal_embed_failed_texts_total") == 2
    # Two texts missed at first; then one was held, the blank one not; the search found it too.
    assert value(after, "shoal_query_cache_hits_total") == 2
    assert value(after, "shoal_query_cache_misses_total") == 3
    assert value(after, "shoal_query_cache_entries") == 1
    assert 0 < value(after, "shoal_query_cache_bytes") < value(after, "shoal_query_cache_limit_bytes")
    assert value(after, "shoal_gathered_encode_queries_count") >= 2
    assert value(after, "shoal_gathered_shard_queries_sum") == 1
    measured.gateway.drain(1)
    with pytest.raises(OSError, match="refused"):
        scraped(address)


def test_the_encoders_load_and_pools_are_reported() -> None:
    message = coordinator_pb2.WatchRoutingResponse(epoch=1)
    load = status_pb2.EncoderLoad(waiting_texts=3, waiting_tokens=90, oldest_ms=1500, texts_per_s=12.5, busy=0.75)
    message.processes.add(kind=status_pb2.PROCESS_KIND_ENCODER, name="encoder-m-0", model="m", load=load, restarts=2)
    message.processes.add(kind=status_pb2.PROCESS_KIND_INDEX, name="index-0")
    message.pools.add(model="m", min_replicas=1, max_replicas=4, wanted=3, ready=2)
    view = RoutingView()
    view.offer(RoutingTable.from_message(message))
    server = MetricsServer(
        "127.0.0.1:0",
        GatewayCollector(GatewayCounts(), QueryCache(0, 0), view, GatewayMemory(RequestLimits()), MessageParser()),
    )
    try:
        samples = scraped(server.address)
    finally:
        server.stop()
    one = {"replica": "encoder-m-0", "model": "m"}
    assert value(samples, "shoal_encoder_waiting_texts", **one) == 3
    assert value(samples, "shoal_encoder_waiting_tokens", **one) == 90
    assert value(samples, "shoal_encoder_oldest_seconds", **one) == 1.5
    assert value(samples, "shoal_encoder_texts_per_second", **one) == 12.5
    assert value(samples, "shoal_encoder_busy_ratio", **one) == 0.75
    assert value(samples, "shoal_encoder_restarts_total", **one) == 2
    assert value(samples, "shoal_pool_wanted_replicas", model="m") == 3
    assert value(samples, "shoal_pool_ready_replicas", model="m") == 2
    assert not any(("replica", "index-0") in labels for _, labels in samples)


def test_a_metrics_port_in_use_is_an_error_and_leaves_nothing_open(cluster: SmallCluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway = GatewayServer(GatewaySettings("127.0.0.1:0", cluster.url, CREDENTIALS, metrics_listen=address))
        with pytest.raises(ListenError, match=f"cannot listen on {address}: Address already in use"):
            gateway.start()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(gateway.address.rpartition(":")[2])), timeout=2)


def test_by_default_nothing_is_served(cluster: SmallCluster) -> None:
    assert cluster.gateway.metrics_address == ""
