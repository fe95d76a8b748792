"""The small cluster as a fixture: one for each test, in its own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.gateway.small_cluster import SmallCluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SmallCluster]:
    cluster = SmallCluster(tmp_path)
    try:
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.close()
