"""What `shoal serve` does around Ray, without one: the ports that it holds."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from shoal.cluster.gateway.server import GatewayServer, GatewaySettings
from shoal.cluster.ledger.connection import migrate, open_engine, sqlite_url
from shoal.cluster.local_cluster import LocalCluster, ServeError
from shoal.cluster.settings import ServeSettings


def is_free(address: str) -> bool:
    """Whether a stranger who asks for that port gets it."""
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
        # Nobody listens yet, and between two lives of the gateway nobody does either.
        for _ in range(2):
            assert not any(map(is_free, seen))
            gateway = GatewayServer(GatewaySettings(cluster.listen, url, "a secret", metrics_listen=cluster.metrics))
            assert gateway.start() == cluster.listen
            gateway.drain(0)
        raise ServeError("seen enough")

    url = sqlite_url(tmp_path / "other.sqlite")
    engine = open_engine(url, read_only=False)
    migrate(engine)
    engine.dispose()
    monkeypatch.setattr(LocalCluster, "_start_ray", serve_twice)
    settings = ServeSettings(data=str(tmp_path / "data"), listen="127.0.0.1:0", metrics="127.0.0.1:0")
    with pytest.raises(ServeError, match="seen enough"):
        LocalCluster(settings)
    assert len(set(seen)) == 2
