"""Which encoders a model's name stands for, and telling the coordinator that a model is in use."""

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
    """A model that is routed is used at once, and the coordinator told now and then; for another it is asked first.

    Belongs to one event loop.
    """

    def __init__(self, link: CoordinatorLink, view: RoutingView, retain_every_s: float) -> None:
        """`retain_every_s` is well below the time after which the coordinator lets go of a model that nobody uses."""
        self._link = link
        self._view = view
        self._retain_every_s = retain_every_s
        self._retained: dict[str, float] = {}
        """When the coordinator was last told, by model."""
        self._telling: set[asyncio.Task[None]] = set()

    async def find(self, name: str, deadline: Deadline) -> ModelId:
        """The model by that name, loaded; raises InvalidModel when it cannot be, Unavailable when it is not in time."""
        model = self._routed(name)
        now = asyncio.get_running_loop().time()
        if model is None:
            await self._link.retain_model(name, deadline)
            self._note(name, now)
            # The coordinator may answer a moment before its routing message comes.
            return await retry_until(deadline, lambda: self._await_route(name), self._view.change, f"model {name!r}")
        if now - self._retained.get(name, -self._retain_every_s) >= self._retain_every_s:
            self._note(name, now)
            task = asyncio.get_running_loop().create_task(self._retain(name))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
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
        self._retained = {one: told for one, told in self._retained.items() if one in known}
        self._retained[name] = now

    async def _retain(self, name: str) -> None:
        try:
            await self._link.retain_model(name, Deadline.within(_RETAIN_S))
        except (ClusterError, LedgerError) as error:
            # It is told again with the next use.
            self._retained.pop(name, None)
            log.debug("model %r: the coordinator was not told that it is in use: %s", name, error)

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
