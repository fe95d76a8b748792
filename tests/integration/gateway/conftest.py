"""The small cluster as a fixture: one for each test, in its own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.cluster.gateway.backends import coordinator_link
from shoal.cluster.rpc import deadlines
from support.gateway.small_cluster import SmallCluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SmallCluster]:
    cluster = SmallCluster(tmp_path)
    try:
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def impatient_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that hardly waits for a coordinator that is away."""
    monkeypatch.setattr(coordinator_link, "BRIDGE_S", 0.1)


@pytest.fixture
def early_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that answers half-way to a caller's deadline, so that its answer comes before the deadline."""
    monkeypatch.setattr(deadlines, "_ANSWER_SHARE", 0.5)
    monkeypatch.setattr(deadlines, "_ANSWER_S", 5.0)
