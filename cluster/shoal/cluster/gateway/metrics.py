"""A gateway's Prometheus metrics, over HTTP. Nothing is counted here: each scrape reads the gateway's counters and its
routing table."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shoal.cluster.errors import ListenError
from shoal.cluster.gateway.backends.counts import GatewayCounts, Histogram
from shoal.cluster.gateway.backends.query_cache import QueryCache
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.room import GatewayMemory
from shoal.cluster.settings import split_listen
from shoal.v1 import status_pb2
from shoal.workers.runtime import MessageParser, error_line

_ENCODER_LABELS = ("replica", "model")


class GatewayCollector(Collector):
    """Converts counts to metric families. Called from the threads of the HTTP server, while the gateway keeps counting."""

    def __init__(
        self,
        counts: GatewayCounts,
        cache: QueryCache,
        view: RoutingView,
        memory: GatewayMemory,
        parser: MessageParser,
    ) -> None:
        self._memory = memory
        self._parser = parser
        self._counts = counts
        self._cache = cache
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """All metrics, with their current values."""
        yield from self._requests()
        yield from self._messages()
        yield from self._embedding()
        yield from self._query_cache()
        yield from self._gathering()
        yield from self._encoders()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("shoal_requests", "Completed public calls.", labels=("method", "status"))
        # Copied first: the gateway may add an entry during the iteration.
        for (method, status), count in sorted(dict(self._counts.requests).items()):
            requests.add_metric((method, status), count)
        yield requests
        seconds = HistogramMetricFamily("shoal_request_seconds", "Duration of public calls.", labels=("method",))
        for method, histogram in sorted(dict(self._counts.seconds).items()):
            seconds.add_metric((method,), _buckets(histogram), histogram.total)
        yield seconds
        yield GaugeMetricFamily("shoal_requests_in_flight", "Public calls in flight.", value=self._counts.in_flight)

    def _messages(self) -> Iterator[Metric]:
        malformed = CounterMetricFamily("shoal_malformed_requests", "Requests that were no message.", labels=("method",))
        for method, count in sorted(dict(self._parser.malformed).items()):
            malformed.add_metric((method.rpartition("/")[2],), count)
        yield malformed
        requests, replies = self._memory.requests.budget, self._memory.replies.budget
        for name, what, value in (
            ("request_bytes", "Requests that are worked on.", requests.held),
            ("request_waiting_bytes", "Requests that wait for room in memory.", requests.waiting),
            ("reply_bytes", "Replies that are built or sent, at their largest size until it is known.", replies.held),
        ):
            yield GaugeMetricFamily(f"shoal_{name}", what, value=value)

    def _embedding(self) -> Iterator[Metric]:
        texts = CounterMetricFamily("shoal_embedded_texts", "Texts that got a vector from Embed.", labels=("role",))
        tokens = CounterMetricFamily("shoal_embedded_tokens", "Tokens of those texts.", labels=("role",))
        for family, counted in ((texts, self._counts.embedded_texts), (tokens, self._counts.embedded_tokens)):
            for role, count in sorted(dict(counted).items()):
                family.add_metric((role,), count)
            yield family
        failed = self._counts.failed_texts
        yield CounterMetricFamily("shoal_embed_failed_texts", "Texts that got an error from Embed.", value=failed)

    def _query_cache(self) -> Iterator[Metric]:
        cache = self._cache.stats()
        for name, what, count in (
            ("hits", "Query texts whose vector was in the cache.", cache.hits),
            ("misses", "Query texts whose vector was not in the cache.", cache.misses),
            ("joined", "Misses that waited for an encoding of the same text already in flight.", cache.joined),
            ("evicted", "Entries evicted to make room for others.", cache.evicted),
        ):
            yield CounterMetricFamily(f"shoal_query_cache_{name}", what, value=count)
        for name, what, value in (
            ("entries", "Vectors in the query cache.", cache.entries),
            ("bytes", "Memory used by the query cache.", cache.bytes),
            ("limit_bytes", "Memory limit of the query cache.", cache.limit_bytes),
        ):
            yield GaugeMetricFamily(f"shoal_query_cache_{name}", what, value=value)

    def _gathering(self) -> Iterator[Metric]:
        for name, what, histogram in (
            ("encode", "Queries in one batched call to an encoder.", self._counts.encode_queries),
            ("shard", "Queries in one batched call to a shard.", self._counts.shard_queries),
        ):
            family = HistogramMetricFamily(f"shoal_gathered_{name}_queries", what)
            family.add_metric((), _buckets(histogram), histogram.total)
            yield family

    def _encoders(self) -> Iterator[Metric]:
        """As last reported by the coordinator: queue and throughput of each replica, pool of each model."""
        table = self._view.table
        loads = [(process, process.load) for process in table.processes if process.HasField("load")]
        for name, what, values in (
            ("waiting_texts", "Texts waiting or being encoded.", [load.waiting_texts for _, load in loads]),
            ("waiting_tokens", "Tokens of those texts.", [load.waiting_tokens for _, load in loads]),
            ("oldest_seconds", "Waiting time of the oldest of them.", [load.oldest_ms / 1000 for _, load in loads]),
            ("texts_per_second", "Texts encoded per second, recently.", [load.texts_per_s for _, load in loads]),
            ("tokens_per_second", "Tokens encoded per second, recently.", [load.tokens_per_s for _, load in loads]),
            ("busy_ratio", "Fraction of recent time spent computing.", [load.busy for _, load in loads]),
        ):
            yield _per_encoder(f"shoal_encoder_{name}", what, [encoder for encoder, _ in loads], values)
        encoders = [process for process in table.processes if process.kind == status_pb2.PROCESS_KIND_ENCODER]
        restarts = CounterMetricFamily("shoal_encoder_restarts", "Processes replaced.", labels=_ENCODER_LABELS)
        for encoder in encoders:
            restarts.add_metric((encoder.name, encoder.model), encoder.restarts)
        yield restarts
        for name, what, sizes in (
            ("ready", "Encoder replicas that are ready.", [pool.ready for pool in table.pools]),
            ("wanted", "Target number of encoder replicas.", [pool.wanted for pool in table.pools]),
        ):
            family = GaugeMetricFamily(f"shoal_pool_{name}_replicas", what, labels=("model",))
            for pool, size in zip(table.pools, sizes, strict=True):
                family.add_metric((pool.model,), size)
            yield family


class MetricsServer:
    """Serves /metrics from its own threads until `stop`."""

    def __init__(self, listen: str, collector: Collector) -> None:
        """Raises ListenError when the port cannot be bound, SettingsError when `listen` is not HOST:PORT."""
        registry = CollectorRegistry()
        registry.register(collector)
        host, port = split_listen(listen, "metrics")
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ListenError(f"cannot listen on {listen}: {error_line(error)}") from error
        self.address = f"[{host}]:{self._server.server_port}" if ":" in host else f"{host}:{self._server.server_port}"

    def stop(self) -> None:
        """Closes the port and ends the threads."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, histogram.cumulative()), strict=True))


def _per_encoder(name: str, what: str, encoders: Iterable[status_pb2.Process], values: Iterable[float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=_ENCODER_LABELS)
    for encoder, value in zip(encoders, values, strict=True):
        family.add_metric((encoder.name, encoder.model), value)
    return family
