"""`shoal serve` on a Ray cluster that runs already: what it leaves there when it is killed, and when it ends in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.client import Document
from support.cluster_process import ClusterProcess, eventually
from support.ray_head import RayHead

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def all_ready(cluster: ClusterProcess) -> dict[str, int]:
    """Process ids by kind (one process each), once all are ready."""
    found: dict[str, int] = {}

    def look() -> bool:
        found.update({kind: pid for kind, [pid] in cluster.pids().items()})
        return found.keys() == {"coordinator", "gateway", "index", "encoder"}

    eventually(look, "all are ready")
    return found


def test_one_after_another_on_the_same_folder(head: RayHead, tmp_path: Path) -> None:
    data = tmp_path / "data"
    killed = ClusterProcess(data, ray=head.joined())
    try:
        with killed.client() as client:
            client.create_collection("kept", model="hashing:32")
            client.upsert("kept", [Document("one", "a text")], wait=True)
            assert client.status().query_cache.limit_bytes > 0
        before = all_ready(killed)
        killed.kill()
    finally:
        killed.close()
    # Ray keeps coordinator and gateway alive: at the same address, which must become the new one's, and with old settings.
    again = ClusterProcess(data, "[query_cache]\nlimit_bytes = 0\n", killed.address, head.joined())
    try:
        with again.client() as client:
            after = all_ready(again)
            assert client.status().query_cache.limit_bytes == 0
            assert client.search("kept", "a text", k=1)[0].id == "one"
        assert after["coordinator"] != before["coordinator"] and after["gateway"] != before["gateway"]
        # Those hold what takes time to load.
        assert (after["index"], after["encoder"]) == (before["index"], before["encoder"])
        assert again.stop() == 0
    finally:
        again.close()
    # A third one finds no actors.
    third = ClusterProcess(data, ray=head.joined())
    try:
        with third.client() as client:
            assert client.search("kept", "a text", k=1)[0].id == "one"
            assert set(all_ready(third).values()).isdisjoint(after.values())
        assert third.stop() == 0
    finally:
        third.close()
