"""The command that searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from shoal.client import types
from shoal.client.cli.files.query_vector import read_query_vector
from shoal.client.cli.session import Session, remote
from shoal.console import FilePath, print_json, print_table, shorten

HEADLINE_CHARACTERS = 80
TEXT_CHARACTERS = 160


@click.command(
    short_help="Find documents by meaning.",
    epilog="\b\nExamples:\n  shoal search papers 'tidal locking'\n  shoal search papers 'tidal locking' -k 3 --text --json\n"
    "  shoal search papers --like 2101.00001\n"
    "  shoal embed all-MiniLM-L6-v2 'tides' --json | shoal search papers --vector -",
)
@click.argument("name")
@click.argument("query", required=False)
@click.option("--like", metavar="ID", help="Find what is like the document ID, instead of QUERY.")
@click.option(
    "--vector",
    "vector_file",
    type=FilePath(),
    metavar="FILE",
    help="Find what is near the vector in FILE, or in standard input for '-': .npy, a JSON array, or a number per line.",
)
@click.option("-k", "--k", type=click.IntRange(min=1), default=10, show_default=True, help="Number of documents.")
@click.option("--text", is_flag=True, help="Show the beginning of the documents' text; with --json, all of it.")
@click.option("--payload", is_flag=True, help="Show the documents' payload.")
@click.option(
    "--token", "tokens", multiple=True, help="Token of a write: wait until the search sees that write; may be repeated."
)
@click.option(
    "--min-coverage",
    type=float,
    help="Accept an answer from this share of the documents (0 to 1) if a shard cannot be reached.",
)
@remote
def search(
    session: Session,
    name: str,
    query: str | None,
    like: str | None,
    vector_file: Path | None,
    k: int,
    text: bool,
    payload: bool,
    tokens: Sequence[str],
    min_coverage: float | None,
) -> None:
    """Find the documents of NAME that are nearest in meaning to QUERY.

    Each is shown with its title, or with the first words of its text.
    """
    if [query, like, vector_file].count(None) != 2:
        raise click.UsageError("give one of QUERY, --like and --vector")
    # Titles may be missing, and a headline needs only the beginning of a text.
    # Twice as many, because whitespace is folded.
    characters = 0 if text and session.json else 2 * (TEXT_CHARACTERS if text else HEADLINE_CHARACTERS)
    result = session.client.search(
        name,
        query if vector_file is None else read_query_vector(str(vector_file)),
        like=like,
        k=k,
        token=tokens,
        include_text=True,
        text_characters=characters,
        min_coverage=min_coverage,
    )
    if session.json:
        coverage = result.coverage
        hits = [{**_fields(hit), "text": hit.text if text else "", "headline": headline(hit)} for hit in result]
        print_json(
            {
                "hits": hits,
                "coverage": {**_fields(coverage), "complete": coverage.complete, "fresh": coverage.fresh},
                "timings": result.timings,
            }
        )
        return
    columns = ["score", "id", "version", "text" if text else "title or text", *(["payload"] if payload else [])]
    print_table(columns, [_row(hit, text, payload) for hit in result], fitted=3)
    click.echo(f"\n{freshness(result.coverage)}; {result.timings.total_s * 1000:.1f} ms")


def headline(hit: types.Hit) -> str:
    """The title of a document, or the first words of its text, in one line of at most HEADLINE_CHARACTERS characters."""
    title = hit.payload.get("title")
    return shorten(title if isinstance(title, str) and title.strip() else hit.text, HEADLINE_CHARACTERS)


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


def _row(hit: types.Hit, text: bool, payload: bool) -> list[str]:
    truncated = " (truncated)" if hit.truncated else ""
    row = [f"{hit.score:.4f}", hit.id, f"{hit.version}{truncated}"]
    row.append(shorten(hit.text, TEXT_CHARACTERS) if text else headline(hit))
    if payload:
        row.append(shorten(json.dumps(hit.payload, ensure_ascii=False)) if hit.payload else "")
    return row


def _fields(value: types.Coverage | types.Hit) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
