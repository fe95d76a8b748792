"""Resolves model names to loaded models, and tells the coordinator which models are in use."""

from __future__ import annotations

import asyncio
import logging

from shoal.cluster.errors import ClusterError, Unavailable
from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.retry import retry_until
from shoal.cluster.rpc.routing import ModelId

log = logging.getLogger(__name__)

_RETAIN_S = 30.0
_RETRY_AFTER_MS = 200


class Models:
    """Routed models are used at once, and their use is reported at intervals; others are first requested from the
    coordinator.

    Belongs to one event loop.
    """

    def __init__(self, link: CoordinatorLink, view: RoutingView, retain_every_s: float) -> None:
        """`retain_every_s` must be well below the time after which the coordinator unloads an idle model."""
        self._link = link
        self._view = view
        self._retain_every_s = retain_every_s
        self._retained: dict[str, float] = {}
        """When the use of each model was last reported."""
        self._reports: set[asyncio.Task[None]] = set()

    async def find(self, name: str, deadline: Deadline) -> ModelId:
        """The loaded model of that name; raises InvalidModel if it cannot be loaded, Unavailable if not in time."""
        model = self._routed(name)
        now = asyncio.get_running_loop().time()
        if model is None:
            await self._link.retain_model(name, deadline)
            self._note(name, now)
            # The coordinator may answer shortly before its routing message arrives.
            return await retry_until(deadline, lambda: self._await_route(name), self._view.change, f"model {name!r}")
        if now - self._retained.get(name, -self._retain_every_s) >= self._retain_every_s:
            self._note(name, now)
            task = asyncio.get_running_loop().create_task(self._retain(name))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)
        return model

    def _routed(self, name: str) -> ModelId | None:
        return min(self._view.table.encoders_named(name), default=None)

    async def _await_route(self, name: str) -> ModelId:
        model = self._routed(name)
        if model is None:
            raise Unavailable(f"no encoder of model {name!r} is ready now", retry_after_ms=_RETRY_AFTER_MS)
        return model

    def _note(self, name: str, now: float) -> None:
        known = {model.model for model in self._view.table.encoders}
        self._retained = {one: reported for one, reported in self._retained.items() if one in known}
        self._retained[name] = now

    async def _retain(self, name: str) -> None:
        try:
            await self._link.retain_model(name, Deadline.within(_RETAIN_S))
        except (ClusterError, LedgerError) as error:
            # The next use is reported again.
            self._retained.pop(name, None)
            log.debug("model %r: cannot report its use to the coordinator: %s", name, error)

    async def close(self) -> None:
        """Cancels reports in flight."""
        for task in self._reports:
            task.cancel()
        await asyncio.gather(*self._reports, return_exceptions=True)
