"""Commands about the server as a whole."""

from __future__ import annotations

import dataclasses

import click

from shoal.client.cli.collections import print_collection, print_collections
from shoal.client.cli.session import Session, remote
from shoal.client.processes import ProcessInfo
from shoal.client.types import ClusterStatus
from shoal.console import FAILED, cell, print_fields, print_json, print_table


@click.command(
    short_help="Show the state of the cluster.", epilog="\b\nExamples:\n  shoal status\n  shoal status papers --json"
)
@click.argument("name", required=False)
@remote
def status(session: Session, name: str | None) -> None:
    """Show the state of the cluster, or of the collection NAME. Exits with code 1 when the cluster has a problem."""
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
    else:
        _print_cluster(state, session.client.address)
    if state.problems:
        raise SystemExit(FAILED)


def _print_cluster(state: ClusterStatus, address: str) -> None:
    click.echo(f"shoal {state.version} at {address}, coordinator epoch {state.coordinator_epoch}\n")
    for problem in state.problems:
        click.echo(f"problem: {problem.part}: {cell(problem.message)}, since {cell(problem.since)}")
    if state.problems:
        click.echo()
    print_table(
        ["process", "kind", "state", "address", "pid", "detail"],
        [
            [process.name, process.kind, process.state, process.address or "-", process.pid, _detail(process)]
            for process in state.processes
        ],
    )
    click.echo()
    if state.pools:
        print_table(
            ["model", "ready", "wanted", "min", "max"],
            [[pool.model, pool.ready, pool.wanted, pool.min_replicas, pool.max_replicas] for pool in state.pools],
        )
        click.echo()
    problems = {one.problem for one in (*state.pools, *state.collections) if one.problem}
    for problem in sorted(problems):
        click.echo(f"problem: {problem}")
    if problems:
        click.echo()
    cache = state.query_cache
    if cache.limit_bytes:
        click.echo(
            f"query cache: {cache.hit_rate:.0%} of {cache.hits + cache.misses} queries hit, {cache.entries} entries, "
            f"{cache.bytes / 2**20:.1f} of {cache.limit_bytes / 2**20:.0f} MiB\n"
        )
    if state.collections:
        print_collections(state.collections)
    else:
        click.echo("no collections")


def _detail(process: ProcessInfo) -> str:
    """The rest about a process, in one cell."""
    load = process.load
    parts = [process.model, process.device, process.detail]
    if load is not None and load.waiting_texts:
        parts.append(f"{load.waiting_texts} texts waiting for up to {load.oldest_s:.1f} s")
    if load is not None and load.texts_per_s:
        parts.append(f"{load.texts_per_s:.4g} texts/s, {load.busy:.0%} busy")
    if process.restarts:
        parts.append(f"restarted {process.restarts} times" if process.restarts > 1 else "restarted once")
    return "; ".join(part for part in parts if part)


@click.command(short_help="Show the server's version and limits.", epilog="\b\nExample:\n  shoal describe --json")
@remote
def describe(session: Session) -> None:
    """Show the server's version and its limits on input."""
    server = session.client.describe()
    if session.json:
        print_json(server)
        return
    print_fields({"version": server.version, "api": server.api, "python": server.python, "ray": server.ray})
    click.echo()
    limits = dataclasses.asdict(server.limits)
    print_table(["limit", "value"], [[name.replace("_", " "), value] for name, value in limits.items()])
