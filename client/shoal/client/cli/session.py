"""What all commands that call a server share: their options, and an open client."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from shoal.client._transport.channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT_S
from shoal.client._transport.retry import RetryPolicy
from shoal.client.cli.listening import nobody_listens
from shoal.client.client import Client
from shoal.console import Failure

# After a mistyped address the error should not take the whole timeout.
PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Defaults:
    """Options given before the command's name."""

    address: str | None = None
    timeout: float | None = None
    api_key: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """An open client, and whether to print JSON."""

    client: Client
    json: bool


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")


def remote(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command --address, --timeout, --api-key and --json, and a Session as its first argument."""

    @click.option(
        "--address",
        envvar="SHOAL_ADDRESS",
        metavar="HOST:PORT",
        help=f"Address of the server.  [default: $SHOAL_ADDRESS or {DEFAULT_ADDRESS}]",
    )
    @click.option(
        "--timeout", type=float, metavar="SECONDS", help=f"Time limit of each call.  [default: {DEFAULT_TIMEOUT_S:g}]"
    )
    @click.option(
        "--api-key",
        envvar="SHOAL_API_KEY",
        metavar="KEY",
        help="API key for a server that needs one. Other users of a machine can read options, so prefer the variable.  "
        "[default: $SHOAL_API_KEY]",
    )
    @json_option
    @functools.wraps(function)
    def command(
        *args: Any, address: str | None, timeout: float | None, api_key: str | None, as_json: bool, **options: Any
    ) -> None:
        context = click.get_current_context()
        defaults = context.find_object(Defaults) or Defaults()
        environment = click.core.ParameterSource.ENVIRONMENT
        if context.get_parameter_source("address") is environment and defaults.address is not None:
            address = defaults.address
        if context.get_parameter_source("api_key") is environment and defaults.api_key is not None:
            api_key = defaults.api_key
        client = Client(
            next(given for given in (address, defaults.address, DEFAULT_ADDRESS) if given is not None),
            timeout=next(given for given in (timeout, defaults.timeout, DEFAULT_TIMEOUT_S) if given is not None),
            retry=RetryPolicy(patience_s=PATIENCE_S),
            api_key=defaults.api_key if api_key is None else api_key,
        )
        with client:
            if nobody_listens(client.address):
                raise Failure(f"cannot reach {client.address}: no server runs there; shoal serve starts one")
            function(Session(client, as_json), *args, **options)

    return command
