"""What an upload that waited says about documents that cannot be embedded."""

from __future__ import annotations

import click

from shoal.client.types import UpsertSummary

SHOWN_FAILURES = 20


def searchable_counts(summary: UpsertSummary) -> dict[str, object]:
    """For the output in JSON."""
    return {
        "searchable": _searchable(summary),
        "failed": summary.failed,
        "failures": [{"id": one.id, "reason": one.reason} for one in summary.failures],
    }


def searchable_in_words(summary: UpsertSummary) -> str:
    """How many documents are searchable, and how many are not."""
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{_searchable(summary)} searchable{failed}"


def report_failures(summary: UpsertSummary) -> str:
    """Prints the first documents that cannot be embedded, on stderr; returns how many there are, or nothing."""
    if not summary.failed:
        return ""
    for one in summary.failures[:SHOWN_FAILURES]:
        click.echo(f"document {one.id!r} cannot be embedded: {one.reason}", err=True)
    more = summary.failed - min(SHOWN_FAILURES, len(summary.failures))
    if more:
        click.echo(f"... and {more} more", err=True)
    reasons = dict.fromkeys(one.reason for one in summary.failures)
    documents = "1 document" if summary.failed == 1 else f"{summary.failed} documents"
    why = f": {next(iter(reasons))}" if len(reasons) == 1 else ""
    return f"{documents} cannot be embedded{why}"


def _searchable(summary: UpsertSummary) -> int:
    return max(0, summary.documents - summary.refused - summary.failed)
