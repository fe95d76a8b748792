"""The gateway apart from its transports: the backends that it calls, and the paths that answer public requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shoal.cluster.gateway.access.guard import Guard
from shoal.cluster.gateway.access.keys import KeyPath
from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.gateway.backends.encoders import Encoders
from shoal.cluster.gateway.backends.index_shards import IndexShards
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.models import Models
from shoal.cluster.gateway.backends.query_cache import QueryCache
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.collections import CollectionPath, CollectionViews
from shoal.cluster.gateway.paths.embedding import EmbedPath
from shoal.cluster.gateway.paths.public_calls import PublicCalls
from shoal.cluster.gateway.paths.reading import ReadPath
from shoal.cluster.gateway.paths.room import GatewayMemory
from shoal.cluster.gateway.paths.search import SearchPath
from shoal.cluster.gateway.paths.status import StatusPath
from shoal.cluster.gateway.paths.visibility import WriteVisibility
from shoal.cluster.gateway.paths.writing import WritePath
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.rpc.channels import Channels
from shoal.workers.runtime import MessageParser

log = logging.getLogger(__name__)


class GatewayCore:
    """Only wiring; belongs to one event loop. A transport calls the paths, each call within `calls.begin`."""

    def __init__(self, settings: GatewaySettings, reads: LedgerReads, now_ms: Callable[[], int]) -> None:
        limits, queries = settings.limits, settings.limits.queries_per_call
        self._reads = reads
        self._channels = Channels(settings.credentials)
        self.view = RoutingView()
        self.counts = GatewayCounts()
        self.cache = QueryCache(settings.query_cache_bytes, settings.query_cache_entries)
        index_shards = IndexShards(self.view, self._channels, queries, self.counts)
        encoders = Encoders(
            self.view,
            self._channels,
            self.cache,
            self.counts,
            queries,
            settings.default_deadline_s,
        )
        self._link = CoordinatorLink(reads, self.view, settings.credentials, settings.name, self._routed)
        self._models = Models(self._link, self.view, settings.retain_every_s)
        views = CollectionViews(reads, self.view, now_ms)
        visibility = WriteVisibility(reads, index_shards, self.view)
        self.calls = PublicCalls(self.counts, settings.default_deadline_s, limits.message_bytes)
        self.memory = GatewayMemory(limits)
        self.parser = MessageParser()
        self.draining = asyncio.Event()
        """Set when streams must end at their next request."""
        self.collections = CollectionPath(views, self._link, limits)
        self.reading = ReadPath(reads, index_shards, self.view, limits)
        self.writing = WritePath(reads, self._link, visibility, limits)
        self.search = SearchPath(reads, visibility, index_shards, encoders, limits, now_ms)
        self.embedding = EmbedPath(self._models, encoders, self.view, limits, self.counts)
        self.keys = KeyPath(reads, self._link, limits, now_ms)
        self.guard = Guard(reads, settings.keys_required, now_ms)
        self.status = StatusPath(reads, views, self.view, self.cache, limits, settings.name, now_ms)
        self._on_routed: Callable[[], Awaitable[None]] | None = None
        self._following: asyncio.Task[None] | None = None

    def follow_coordinator(self, on_routed: Callable[[], Awaitable[None]]) -> None:
        """Keeps the routing view up to date from now on; `on_routed` is awaited after each change of it."""
        self._on_routed = on_routed
        self._following = asyncio.create_task(self._link.run(), name="follow the coordinator")
        self._following.add_done_callback(_log_defect)

    async def close(self) -> None:
        """Ends all calls to other processes and to the ledger."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self.writing.close()
        await self._models.close()
        await self._link.close()
        await self._channels.close_all()
        await asyncio.get_running_loop().run_in_executor(None, self._reads.close)

    async def _routed(self) -> None:
        await self._channels.keep(set(self.view.table.addresses()))
        if self._on_routed is not None:
            await self._on_routed()


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the gateway has stopped following the coordinator", exc_info=task.exception())
