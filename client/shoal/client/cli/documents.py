"""Commands about single documents: why a search finds one or not, and which could not be embedded."""

from __future__ import annotations

import click

from shoal.client.cli.session import Session, remote
from shoal.console import print_fields, print_json, print_table


@click.command(
    short_help="Show the state of a document in the index.", epilog="\b\nExample:\n  shoal explain papers 2101.00001"
)
@click.argument("name")
@click.argument("id")
@remote
def explain(session: Session, name: str, id: str) -> None:
    """Show why searches of NAME find or do not find the newest version of the document ID."""
    explanation = session.client.explain(name, id)
    if session.json:
        print_json(explanation)
        return
    deleted = " (deleted)" if explanation.deleted else ""
    print_fields(
        {
            "document": explanation.id,
            "version": f"{explanation.version}{deleted}",
            "wanted by search": explanation.wanted_version,
        }
    )
    click.echo()
    print_table(
        [
            "generation",
            "active",
            "shard",
            "embedded",
            "served",
            "truncated",
            "attempts",
            "failed",
            "next attempt",
            "last error",
        ],
        [
            [
                state.generation,
                state.active,
                state.shard,
                state.embedded_version,
                state.served_version if state.worker_reached else "worker not reached",
                state.truncated,
                state.attempts,
                state.failed,
                state.next_attempt_at,
                state.last_error or "-",
            ]
            for state in explanation.generations
        ],
    )
    for problem in sorted({state.problem for state in explanation.generations if state.problem}):
        click.echo(f"\nproblem: {problem}")


@click.command(
    short_help="List documents that could not be embedded.",
    epilog="\b\nExamples:\n  shoal failed papers\n  shoal failed papers --retry",
)
@click.argument("name")
@click.option("--retry", is_flag=True, help="Retry all of them.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=0, help="List at most this many.  [default: the server's limit]"
)
@remote
def failed(session: Session, name: str, retry: bool, limit: int) -> None:
    """List the documents of NAME that could not be embedded, or retry them."""
    if retry:
        retried = session.client.retry_failed(name)
        if session.json:
            print_json({"retried": retried})
        else:
            click.echo(f"{retried} documents will be retried")
        return
    documents = session.client.failed(name, limit=limit)
    if session.json:
        print_json({"failed": documents})
    elif documents:
        print_table(
            ["id", "version", "attempts", "failed at", "reason"],
            [
                [document.id, document.version, document.attempts, document.failed_at, document.reason]
                for document in documents
            ],
        )
    else:
        click.echo(f"no failed documents in {name}")
