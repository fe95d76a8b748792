"""Both clients, each with its own fake gateway, and a clock that only their pauses advance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shoal.client import AsyncClient, Client
from support.gateway.client_clock import Clock
from support.gateway.client_server import FakeGateway


class Blocking:
    """An AsyncClient whose methods are run to their end."""

    def __init__(self, address: str, **settings: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(address, **settings)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name == "embed_many":
            return lambda *args, **options: self._iterate(method(*args, **options))
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def _iterate(self, items: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(items, None)

        try:
            while (item := self._runner.run(following())) is not None:
                yield item
        finally:
            self._runner.run(items.aclose())

    def end(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, gateway: FakeGateway) -> Iterator[Callable[..., Any]]:
    opened: list[Any] = []

    def open_client(**settings: Any) -> Any:
        settings = {"timeout": 60.0, **settings}
        client = Client(gateway.address, **settings) if request.param == "sync" else Blocking(gateway.address, **settings)
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        client.end() if isinstance(client, Blocking) else client.close()


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    opened = connect()
    opened.create_collection("c", model="m")
    return opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    twins = ("sync_upload", "async_upload", "sync_embedding", "async_embedding")
    for module in ("client", "async_client", *(f"_transport.{name}" for name in twins)):
        monkeypatch.setattr(f"shoal.client.{module}.time", clock)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep_in_loop)
    return clock
