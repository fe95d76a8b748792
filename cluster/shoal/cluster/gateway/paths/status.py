"""Server version, limits, and the state of the cluster as this gateway knows it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

from shoal.cluster.decisions.health.problems import COORDINATOR, LEDGER
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.query_cache import QueryCache
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.collections import CollectionViews
from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.cluster.limits import RequestLimits
from shoal.v1 import collections_pb2, status_pb2


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
        self,
        reads: LedgerReads,
        collections: CollectionViews,
        view: RoutingView,
        cache: QueryCache,
        limits: RequestLimits,
        name: str,
        now_ms: Callable[[], int],
    ) -> None:
        """`name` is this gateway's."""
        self._reads = reads
        self._collections = collections
        self._view = view
        self._cache = cache
        self._limits = limits
        self._name = name
        self._now_ms = now_ms
        self._since_ms: dict[str, int] = {}
        """When this gateway first noticed the problem of a part."""

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
        """Collections, processes, pools and problems; `address` is where this gateway serves.

        A ledger that cannot be read is a problem, not an error.
        """
        table = self._view.table
        collections: list[collections_pb2.Collection] = []
        reasons: dict[str, str] = {}
        try:
            collections = await self._collections.show_all()
            await self._reads.check()
        except LedgerUnreadable as error:
            reasons[LEDGER] = error.place_and_reason
        if not self._view.following:
            reasons[COORDINATOR] = "cannot be reached" if self._view.known else "has not been reached yet"
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
            collections=collections,
            processes=[*map(self._process, table.processes), gateway],
            coordinator_epoch=table.epoch,
            version=installed("shoal"),
            pools=table.pools,
            problems=self._problems(reasons),
            query_cache=status_pb2.QueryCache(
                hits=cache.hits,
                misses=cache.misses,
                joined=cache.joined,
                entries=cache.entries,
                bytes=cache.bytes,
                limit_bytes=cache.limit_bytes,
            ),
        )

    def _process(self, process: status_pb2.Process) -> status_pb2.Process:
        """A process of the routing table; its coordinator is not ready while it cannot be reached."""
        if self._view.following or process.kind != status_pb2.PROCESS_KIND_COORDINATOR:
            return process
        shown = status_pb2.Process()
        shown.CopyFrom(process)
        shown.state = status_pb2.PROCESS_STATE_UNREACHABLE
        return shown

    def _problems(self, reasons: Mapping[str, str]) -> list[status_pb2.Problem]:
        """What this gateway noticed, and what the coordinator reports of other parts while it can be reached."""
        reported = {one.part: one for one in self._view.table.problems if self._view.following}
        now_ms = self._now_ms()
        self._since_ms = {part: self._since_ms.get(part, now_ms) for part in reasons}
        noticed = [
            status_pb2.Problem(
                part=part,
                message=message,
                since_ms=min(self._since_ms[part], reported[part].since_ms if part in reported else now_ms),
            )
            for part, message in reasons.items()
        ]
        return [*noticed, *(problem for part, problem in reported.items() if part not in reasons)]
