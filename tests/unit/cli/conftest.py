import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shoal.client import Client
from shoal.client.cli import main
from support.gateway.client_server import FakeGateway


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    with FakeGateway() as server, Client(server.address) as client:
        client.create_collection("c", model="m")
        server.world.calls.clear()
        monkeypatch.setitem(os.environ, "SHOAL_ADDRESS", server.address)
        yield server


@pytest.fixture
def shoal(gateway: FakeGateway) -> Callable[..., Result]:
    """Runs a command line against the gateway."""
    return lambda *args, **options: CliRunner().invoke(main, [str(arg) for arg in args], **options)


@pytest.fixture
def shoal_json(shoal: Callable[..., Result]) -> Callable[..., Any]:
    """Runs a command with --json and returns what it printed, which must be one JSON value and nothing else."""

    def run(*args: object, exit_code: int = 0) -> Any:
        result = shoal(*args, "--json")
        assert result.exit_code == exit_code, result.stderr
        return json.loads(result.stdout)

    return run
