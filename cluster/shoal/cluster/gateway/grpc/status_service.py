"""StatusService: what the server is, what it takes, and how the cluster is."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grpc.aio

from shoal.cluster.gateway.backends.query_cache import QueryCache
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.collections import CollectionViews
from shoal.cluster.limits import RequestLimits
from shoal.v1 import status_pb2, status_pb2_grpc


def installed(distribution: str) -> str:
    """The installed version of a distribution; empty when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def limits_message(limits: RequestLimits) -> status_pb2.Limits:
    """The limits as Describe tells them."""
    names = [field.name for field in status_pb2.Limits.DESCRIPTOR.fields]
    return status_pb2.Limits(**{name: getattr(limits, name) for name in names})


class StatusService(status_pb2_grpc.StatusServiceServicer):
    """Answers from what this gateway knows, also while the coordinator restarts."""

    def __init__(
        self,
        collections: CollectionViews,
        view: RoutingView,
        cache: QueryCache,
        limits: RequestLimits,
        name: str,
        address: str,
    ) -> None:
        self._collections = collections
        self._view = view
        self._cache = cache
        self._limits = limits
        self._name = name
        self._address = address

    async def Describe(
        self, request: status_pb2.DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> status_pb2.DescribeResponse:
        return status_pb2.DescribeResponse(
            version=installed("shoal"),
            api="shoal.v1",
            python=platform.python_version(),
            ray=installed("ray"),
            limits=limits_message(self._limits),
        )

    async def Status(
        self, request: status_pb2.StatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> status_pb2.StatusResponse:
        table = self._view.table
        gateway = status_pb2.Process(
            kind=status_pb2.PROCESS_KIND_GATEWAY,
            name=self._name,
            address=self._address,
            state=status_pb2.PROCESS_STATE_READY if self._view.known else status_pb2.PROCESS_STATE_STARTING,
            pid=os.getpid(),
            node=platform.node(),
        )
        cache = self._cache.figures()
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
