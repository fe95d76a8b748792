"""What `shoal serve` does around Ray, tested without Ray: the ports that it holds, and the actors that it stops."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import pytest
import ray

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.decisions.access import AccessLevel, ApiKey, digest_of
from shoal.cluster.gateway.server import GatewayServer
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.ledger.connection import migrate, open_engine, sqlite_url
from shoal.cluster.ledger.lease import acquire_lease
from shoal.cluster.ledger.writer import LedgerWriter
from shoal.cluster.ray_runtime import named_actors
from shoal.cluster.serve import local_cluster
from shoal.cluster.serve.local_cluster import LocalCluster, ServeError
from shoal.cluster.settings import ServeSettings
from shoal.workers.runtime import InternalCredentials


def is_free(address: str) -> bool:
    """Whether another process gets that port."""
    host, _, port = address.rpartition(":")
    with socket.socket() as stranger:
        try:
            stranger.bind((host, int(port)))
        except OSError:
            return False
    return True


def test_ports_are_held_from_when_they_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def serve_twice(cluster: LocalCluster) -> None:
        seen.extend((cluster.listen, cluster.metrics))
        # Nothing listens yet, nor between two runs of the gateway.
        for _ in range(2):
            assert not any(map(is_free, seen))
            gateway = GatewayServer(
                GatewaySettings(cluster.listen, url, InternalCredentials("a secret"), metrics_listen=cluster.metrics)
            )
            assert gateway.start() == cluster.listen
            gateway.drain(0)
        raise ServeError("seen enough")

    url = sqlite_url(tmp_path / "other.sqlite")
    engine = open_engine(url, read_only=False)
    migrate(engine)
    engine.dispose()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(LocalCluster, "_start_ray", serve_twice)
    settings = ServeSettings(data=str(tmp_path / "data"), listen="127.0.0.1:0", metrics="127.0.0.1:0")
    with pytest.raises(ServeError, match="seen enough"):
        LocalCluster(settings)
    assert len(set(seen)) == 2


def test_a_server_that_needs_keys_does_not_start_without_an_administrator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = ServeSettings(data=str(tmp_path / "data"), listen="127.0.0.1:0", access="keys")
    with pytest.raises(ServeError, match="no valid API key of an administrator: first run 'shoal serve --access open'"):
        LocalCluster(settings)

    def started(cluster: LocalCluster) -> None:
        raise ServeError("it starts Ray")

    monkeypatch.setattr(LocalCluster, "_start_ray", started)
    engine = open_engine(sqlite_url(tmp_path / "data" / "ledger.sqlite"), read_only=False)
    epoch = acquire_lease(engine, "tests", "", 1000, wall_clock_ms())
    made = ApiKey("0a", "admin", digest_of("secret"), AccessLevel.ADMIN, ("*",), wall_clock_ms())
    LedgerWriter(engine, epoch).create_key(made)
    engine.dispose()
    with pytest.raises(ServeError, match="it starts Ray"):
        LocalCluster(settings)


def test_actors_have_ended_when_ray_has_forgotten_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    kills: Counter[str] = Counter()
    looks = 0

    def names() -> list[str]:
        nonlocal looks
        looks += 1
        # The first kill gets lost.
        return ["gateway", "other"] if kills["gateway"] < 2 or looks < 5 else ["other"]

    monkeypatch.setattr(named_actors, "list_named_actors", names)
    monkeypatch.setattr(named_actors, "KILL_AGAIN_S", 0.01)
    monkeypatch.setattr(ray, "get_actor", lambda name: name)
    monkeypatch.setattr(ray, "kill", lambda name, no_restart: kills.update([name]))
    assert local_cluster._end_actors(lambda name: name == "gateway")
    assert set(kills) == {"gateway"} and kills["gateway"] >= 2 and looks >= 5
    assert not local_cluster._end_actors(lambda name: name == "gateway")
    monkeypatch.setattr(local_cluster, "END_S", 0.1)
    with pytest.raises(ServeError, match=r"other: still running 0\.1 s after Ray was told to stop it"):
        local_cluster._end_actors(lambda name: name == "other")
