"""Server version, limits, and the state of the cluster as this gateway knows it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from shoal.cluster.gateway.backends.query_cache import QueryCache
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.collections import CollectionViews
from shoal.cluster.limits import RequestLimits
from shoal.v1 import status_pb2


def installed(distribution: str) -> str:
    """The installed version of a distribution; empty when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def limits_message(limits: RequestLimits) -> status_pb2.Limits:
    """The limits as a message for the reply of Describe."""
    names = [field.name for field in status_pb2.Limits.DESCRIPTOR.fields]
    return status_pb2.Limits(**{name: getattr(limits, name) for name in names})


class StatusPath:
    """Keeps answering while the coordinator restarts."""

    def __init__(
        self, collections: CollectionViews, view: RoutingView, cache: QueryCache, limits: RequestLimits, name: str
    ) -> None:
        """`name` is this gateway's."""
        self._collections = collections
        self._view = view
        self._cache = cache
        self._limits = limits
        self._name = name

    def describe(self) -> status_pb2.DescribeResponse:
        """Versions and limits."""
        return status_pb2.DescribeResponse(
            version=installed("shoal"),
            api="shoal.v1",
            python=platform.python_version(),
            ray=installed("ray"),
            limits=limits_message(self._limits),
        )

    async def status(self, address: str) -> status_pb2.StatusResponse:
        """Collections, processes and pools; `address` is where this gateway serves. Raises LedgerError."""
        table = self._view.table
        gateway = status_pb2.Process(
            kind=status_pb2.PROCESS_KIND_GATEWAY,
            name=self._name,
            address=address,
            state=status_pb2.PROCESS_STATE_READY if self._view.known else status_pb2.PROCESS_STATE_STARTING,
            pid=os.getpid(),
            node=platform.node(),
        )
        cache = self._cache.stats()
        return status_pb2.StatusResponse(
            collections=await self._collections.show_all(),
            processes=[*table.processes, gateway],
            coordinator_epoch=table.epoch,
            version=installed("shoal"),
            pools=table.pools,
            query_cache=status_pb2.QueryCache(
                hits=cache.hits,
                misses=cache.misses,
                joined=cache.joined,
                entries=cache.entries,
                bytes=cache.bytes,
                limit_bytes=cache.limit_bytes,
            ),
        )
