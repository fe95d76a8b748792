"""Fixtures for tests of the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from shoal.workers.encoding.engine.engine import EncoderEngine, EngineState
from shoal.workers.encoding.engine.scheduler import QueueLimits
from unit.encoding.engine.stepped_engine import WAIT_S, Starter, SteppedModel, wait_for


@pytest.fixture
def model() -> SteppedModel:
    return SteppedModel()


@pytest.fixture
def start() -> Iterator[Starter]:
    """Starts engines that are ready; a batch of theirs then needs a permit."""
    begun: list[tuple[SteppedModel, EncoderEngine]] = []

    def starter(
        model: SteppedModel, limits: QueueLimits | None = None, clock: Callable[[], float] = lambda: 0.0, **others: object
    ) -> EncoderEngine:
        engine = EncoderEngine("stepped", lambda _: model, limits, clock, **others)  # type: ignore[arg-type]
        begun.append((model, engine))
        engine.start()
        assert model.entered.acquire(timeout=WAIT_S)
        wait_for(lambda: engine.describe().state is not EngineState.LOADING)
        return engine

    yield starter
    for model, engine in begun:
        model.permits.release(1000)
        engine.close(WAIT_S)
    assert not any(thread.name.startswith("shoal-encoder") for thread in threading.enumerate())
