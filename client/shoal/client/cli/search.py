"""The command that searches."""

from __future__ import annotations

import json

import click

from shoal.client import types
from shoal.client.cli.session import Session, remote
from shoal.console import print_json, print_table, shorten


@click.command(
    short_help="Find documents by meaning.",
    epilog="\b\nExamples:\n  shoal search papers 'tidal locking'\n  shoal search papers 'tidal locking' -k 3 --text --json",
)
@click.argument("name")
@click.argument("query")
@click.option("-k", "--k", type=click.IntRange(min=1), default=10, show_default=True, help="Number of documents.")
@click.option("--text", is_flag=True, help="Show the documents' text.")
@click.option("--token", help="Token of a write: wait until the search sees that write.")
@click.option(
    "--min-coverage",
    type=float,
    help="Accept an answer from this share of the documents (0 to 1) if a shard cannot be reached.",
)
@remote
def search(
    session: Session, name: str, query: str, k: int, text: bool, token: str | None, min_coverage: float | None
) -> None:
    """Find the documents of NAME that are nearest in meaning to QUERY."""
    result = session.client.search(name, query, k=k, token=token, include_text=text, min_coverage=min_coverage)
    if session.json:
        coverage = result.coverage
        print_json(
            {
                "hits": result.hits,
                "coverage": {**_fields(coverage), "complete": coverage.complete, "fresh": coverage.fresh},
                "timings": result.timings,
            }
        )
        return
    rows = []
    for hit in result:
        truncated = " (truncated)" if hit.truncated else ""
        shown = hit.text if text else json.dumps(hit.payload, ensure_ascii=False) if hit.payload else ""
        rows.append([f"{hit.score:.4f}", hit.id, f"{hit.version}{truncated}", shorten(shown)])
    print_table(["score", "id", "version", "text" if text else "payload"], rows)
    click.echo(f"\n{freshness(result.coverage)}; {result.timings.total_s * 1000:.1f} ms")


def freshness(coverage: types.Coverage) -> str:
    """How complete and how fresh an answer is, in words."""
    parts = [f"searched {coverage.reachable} of {coverage.known} documents"]
    if not coverage.complete:
        parts.append(f"{coverage.shards_reached} of {coverage.shards} shards")
    if coverage.fresh:
        parts.append("no changes pending")
    else:
        parts.append(f"{coverage.pending} changes pending for up to {coverage.lag_s:.2f} s")
    if coverage.failed:
        parts.append(f"{coverage.failed} documents could not be embedded")
    return ", ".join(parts)


def _fields(coverage: types.Coverage) -> dict[str, object]:
    return {name: getattr(coverage, name) for name in coverage.__dataclass_fields__}
