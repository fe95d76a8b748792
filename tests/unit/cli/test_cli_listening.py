"""A command without a server fails at once, but waits for a server that restarts."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from shoal.client.cli import main
from shoal.client.cli.listening import nobody_listens


@pytest.fixture
def reserved() -> Iterator[socket.socket]:
    """A port as `shoal serve` keeps it while its gateway restarts: bound, but without a listener."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        yield one


def address_of(one: socket.socket) -> str:
    return f"127.0.0.1:{one.getsockname()[1]}"


def test_a_port_that_nobody_has_is_known_at_once(reserved: socket.socket) -> None:
    address = address_of(reserved)
    reserved.close()
    assert nobody_listens(address)
    assert nobody_listens(address.replace("127.0.0.1", "localhost"))


def test_a_command_without_a_server_tries_once_and_fails_in_one_line(
    reserved: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    address = address_of(reserved)
    reserved.close()
    result = CliRunner().invoke(main, ["list", "--address", address])
    assert result.exit_code == 1
    assert result.stderr == f"shoal: cannot reach {address}: no server runs there; shoal serve starts one\n"


def test_a_server_that_restarts_is_waited_for(reserved: socket.socket) -> None:
    assert not nobody_listens(address_of(reserved))


def test_a_server_that_listens_is_there(reserved: socket.socket) -> None:
    reserved.listen()
    assert not nobody_listens(address_of(reserved))


@pytest.mark.parametrize(
    "address", ["unix:/tmp/none.sock", "dns:///localhost:1", "192.0.2.1:1", "no.such.host.invalid:1", f"{'é' * 300}:1"]
)
def test_other_addresses_are_left_to_the_client(address: str) -> None:
    assert not nobody_listens(address)
