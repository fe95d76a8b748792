"""Finding the encoders of a model, and when the coordinator is called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from shoal.cluster.errors import InvalidModel, Unavailable
from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.models import Models
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ModelId, RoutingTable

MODEL = ModelId("m", "f")


class Coordinator:
    """Records its requests; starts a model when asked to."""

    def __init__(self, view: RoutingView) -> None:
        self.view = view
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.brings: tuple[ModelId, ...] = (MODEL,)

    def route(self, *models: ModelId) -> None:
        encoders = dict.fromkeys(models, ("a:1",))
        self.view.offer(RoutingTable(1, self.view.table.revision + 1, encoders=encoders))

    async def retain_model(self, model: str, deadline: Deadline) -> None:
        self.asked.append(model)
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        # Its routing message comes a moment after its answer.
        asyncio.get_running_loop().call_later(0.01, self.route, *self.brings)


def run(every_s: float, scenario: Callable[[Models, Coordinator], Awaitable[None]]) -> None:
    async def within_time() -> None:
        view = RoutingView()
        coordinator = Coordinator(view)
        models = Models(cast(CoordinatorLink, coordinator), view, every_s)
        async with asyncio.timeout(60):
            await scenario(models, coordinator)
            await models.close()

    asyncio.run(within_time())


def test_an_unknown_model_is_brought_up_first() -> None:
    async def scenario(models: Models, coordinator: Coordinator) -> None:
        assert await models.find("m", Deadline.within(60)) == MODEL
        assert await models.find("m", Deadline.within(60)) == MODEL
        assert coordinator.asked == ["m"]

    run(60, scenario)


def test_a_routed_model_is_used_without_waiting_for_the_coordinator() -> None:
    async def scenario(models: Models, coordinator: Coordinator) -> None:
        coordinator.route(MODEL, ModelId("other", "g"))
        assert await models.find("m", Deadline.within(60)) == MODEL
        assert coordinator.asked == []
        await asyncio.sleep(0.01)
        # It is notified anyway, because it releases models that no one uses.
        assert coordinator.asked == ["m"]
        for _ in range(5):
            await models.find("m", Deadline.within(60))
        await asyncio.sleep(0.01)
        assert coordinator.asked == ["m"]

    run(60, scenario)


def test_the_coordinator_is_notified_repeatedly_while_the_model_is_in_use() -> None:
    async def scenario(models: Models, coordinator: Coordinator) -> None:
        coordinator.route(MODEL)
        for requests in range(1, 4):
            await models.find("m", Deadline.within(60))
            await asyncio.sleep(0.06)
            assert len(coordinator.asked) == requests

    run(0.05, scenario)


def test_a_coordinator_that_was_away_is_notified_with_the_next_use() -> None:
    async def scenario(models: Models, coordinator: Coordinator) -> None:
        coordinator.route(MODEL)
        coordinator.failure = Unavailable("away")
        assert await models.find("m", Deadline.within(60)) == MODEL
        await asyncio.sleep(0.01)
        coordinator.failure = None
        assert await models.find("m", Deadline.within(60)) == MODEL
        await asyncio.sleep(0.01)
        assert coordinator.asked == ["m", "m"]

    run(60, scenario)


def test_an_unavailable_model_is_reported() -> None:
    async def scenario(models: Models, coordinator: Coordinator) -> None:
        coordinator.failure = InvalidModel("model 'm': no such folder", field="model")
        with pytest.raises(InvalidModel, match="no such folder"):
            await models.find("m", Deadline.within(60))
        coordinator.failure, coordinator.brings = None, ()
        with pytest.raises(Unavailable, match="no encoder of model 'm' is ready now"):
            await models.find("m", Deadline.within(0.1))

    run(60, scenario)
