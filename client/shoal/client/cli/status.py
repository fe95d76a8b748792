"""Commands about the server as a whole."""

from __future__ import annotations

import dataclasses

import click

from shoal.client.cli.collections import print_collection, print_collections
from shoal.client.cli.output import print_fields, print_json, print_table
from shoal.client.cli.session import Session, remote


@click.command(short_help="Show how the cluster is.", epilog="\b\nExamples:\n  shoal status\n  shoal status papers --json")
@click.argument("name", required=False)
@remote
def status(session: Session, name: str | None) -> None:
    """Show how the cluster is, or the collection NAME alone."""
    if name is not None:
        info = session.client.get_collection(name)
        if session.json:
            print_json(info)
        else:
            print_collection(info)
        return
    state = session.client.status()
    if session.json:
        print_json(state)
        return
    click.echo(f"shoal {state.version} at {session.client.address}, coordinator epoch {state.coordinator_epoch}\n")
    print_table(
        ["worker", "kind", "state", "address", "pid", "detail"],
        [
            [worker.name, worker.kind, worker.state, worker.address or "-", worker.pid, worker.detail]
            for worker in state.workers
        ],
    )
    click.echo()
    if state.collections:
        print_collections(state.collections)
    else:
        click.echo("no collections")


@click.command(short_help="Show the server's version and limits.", epilog="\b\nExample:\n  shoal describe --json")
@remote
def describe(session: Session) -> None:
    """Show the server's version and every limit that it puts on input."""
    server = session.client.describe()
    if session.json:
        print_json(server)
        return
    print_fields({"version": server.version, "api": server.api, "python": server.python, "ray": server.ray})
    click.echo()
    limits = dataclasses.asdict(server.limits)
    print_table(["limit", "value"], [[name.replace("_", " "), value] for name, value in limits.items()])
