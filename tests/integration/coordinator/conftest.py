"""A world with a running coordinator, one for each test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.cluster.coordinator.fleet import supervision
from support.coordinator.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Nothing runs in it yet."""
    # Workers start at once here, so there is no need to wait long.
    monkeypatch.setattr(supervision, "LIVENESS", replace(supervision.LIVENESS, locate_pause_s=0.02))
    world = World(tmp_path)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def running(world: World) -> World:
    """A world whose coordinator has started and whose collection exists."""
    world.start()
    world.create()
    return world
