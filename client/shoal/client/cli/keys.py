"""`shoal key`: creating, listing and revoking API keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from shoal.client.cli.session import Session, remote
from shoal.client.keys import AccessRole, ApiKeyInfo
from shoal.console import HELP_SETTINGS, print_json, print_table

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,6})([mhdw])")
_NEVER = "never"


class Duration(click.ParamType[float]):
    """A number and a unit, such as 90d; the value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = _DURATION.fullmatch(str(value))
        if match is None or not int(match[1]):
            self.fail(f"{value!r} is not a duration: give a number and m, h, d or w, such as 90d", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]


@click.group(context_settings=HELP_SETTINGS)
def key() -> None:
    """Create, list and revoke API keys.

    A server started with --access keys answers only calls with a key. Create the first administrator's key before, while the
    server is open: shoal key create admin --role admin"""


@key.command(context_settings=HELP_SETTINGS)
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in AccessRole]), required=True, help="What the key may do.")
@click.option(
    "--collection",
    "collections",
    multiple=True,
    metavar="NAME",
    help="A collection it is for, or the beginning of names with * at the end; may be repeated.  [default: all]",
)
@click.option("--expires", type=Duration(), metavar="DURATION", help="How long it lasts, such as 90d.  [default: for ever]")
@remote
def create(session: Session, name: str, role: str, collections: Sequence[str], expires: float | None) -> None:
    """Create an API key and print it, once. NAME says what it is for."""
    made = session.client.create_key(name, role=role, collections=collections or ("*",), lifetime_s=expires)
    if session.json:
        print_json({"key": made.info, "text": made.text})
        return
    click.echo(made.text)
    click.echo(f"This is key {made.info.id}. It is not stored and cannot be shown again.", err=True)


@key.command("list", context_settings=HELP_SETTINGS)
@remote
def list_(session: Session) -> None:
    """List API keys, oldest first."""
    keys = session.client.list_keys()
    if session.json:
        print_json({"keys": keys})
        return
    print_table(
        ("id", "name", "role", "collections", "created", "expires", "state"),
        [
            (
                info.id,
                info.name,
                info.role.value,
                " ".join(info.collections),
                _date(info.created_at_ms),
                _NEVER if info.expires_at_ms is None else _date(info.expires_at_ms),
                _state(info),
            )
            for info in keys
        ],
    )


@key.command(context_settings=HELP_SETTINGS)
@click.argument("id")
@remote
def revoke(session: Session, id: str) -> None:
    """Revoke the API key with this ID, for good: the next call with it is refused."""
    info = session.client.revoke_key(id)
    if session.json:
        print_json({"key": info})
    else:
        click.echo(f"Revoked key {info.id} ({info.name}).")


def _date(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _state(info: ApiKeyInfo) -> str:
    if info.revoked_at_ms is not None:
        return "revoked"
    return "valid" if info.valid else "expired"
