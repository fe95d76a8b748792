"""The command that imports the output of `shoal encode` into a collection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click

from shoal.client import types
from shoal.client._transport.progress import bar
from shoal.client.cli.files.document_source import refusal_reason
from shoal.client.cli.files.encoded import EncodedFolder
from shoal.client.cli.files.searchable import report_failures, searchable_counts, searchable_in_words
from shoal.client.cli.files.uploading import upload
from shoal.client.cli.session import Session, remote
from shoal.console import BadRowReport, Failure, FilePath, print_json, print_note
from shoal.records import RejectedRow, RejectsInOrder, RepeatedIdNotes, reasons_in_words, rows_were


@click.command(
    "import",
    short_help="Import the output of 'shoal encode' into a collection.",
    epilog="\b\nExample:\n  shoal encode wiki.jsonl --model all-MiniLM-L6-v2 --output wiki-vectors\n"
    "  shoal create wiki --model all-MiniLM-L6-v2\n  shoal import wiki wiki-vectors",
)
@click.argument("name")
@click.argument("directory", metavar="DIR")
@click.option("--rejects", type=FilePath(), metavar="FILE", help="Write the bad rows to FILE, as JSON lines.")
@click.option("--batch", type=click.IntRange(min=1), help="Documents per message.")
@click.option("--wait", is_flag=True, help="Return when the documents are searchable.")
@remote
def import_(session: Session, name: str, directory: str, rejects: Path | None, batch: int | None, wait: bool) -> None:
    """Add the documents that 'shoal encode' wrote to DIR to the collection NAME, with their vectors.

    Nothing is encoded again. The collection must have the model that made the vectors. Documents that it already has with
    the same text and payload stay as they are, so an interrupted import can be run again.
    """
    folder = EncodedFolder(directory)
    folder.check_model(session.client.get_collection(name))
    started_at_s = time.monotonic()
    rejects_in_order = RejectsInOrder()
    repeated = RepeatedIdNotes(folder.shown_location, "replaces the row at", " and replaced it")
    with BadRowReport(rejects=rejects) as bad_rows, bar(f"importing to {name}", folder.rows) as advance:

        def lost(file: str, row: int, reason: str) -> None:
            rejects_in_order.read(RejectedRow(file, row, reason))

        def documents() -> Iterator[types.Document]:
            for position, document in enumerate(folder.documents(lost)):
                rejects_in_order.document()
                repeated.add(document.id, position)
                yield document

        def report(progress: types.UploadProgress) -> None:
            advance(progress.acknowledged)
            for refusal in progress.latest_refusals:
                file, row = folder.location(refusal.position)
                rejects_in_order.refused(refusal.position, RejectedRow(file, row, refusal_reason(refusal), refusal.id))
            for row in rejects_in_order.settled(progress.settled):
                bad_rows.add(row)

        size = batch or session.client.describe().limits.documents_per_write
        try:
            summary = upload(session.client, name, documents(), size, report, wait)
        finally:
            for row in rejects_in_order.settled():
                bad_rows.add(row)
    seconds = time.monotonic() - started_at_s
    for message in repeated.lines():
        print_note(message)
    written = summary.documents - summary.refused
    if session.json:
        print_json(
            {
                "collection": name,
                "written": written,
                "changed": summary.changed,
                "bad_rows": bad_rows.count,
                "reasons": bad_rows.kinds,
                "repeated_ids": repeated.count,
                "token": summary.token,
                "seconds": round(seconds, 3),
                **(searchable_counts(summary) if wait else {}),
            }
        )
    else:
        shown = f", {searchable_in_words(summary)}" if wait else ""
        pace = f"{written / seconds:.0f} rows/s" if seconds else ""
        click.echo(
            f"{written} documents in {name}, {summary.changed} of them new or changed{shown}; {seconds:.1f} s, {pace}"
        )
    faults = [report_failures(summary)]
    if bad_rows.count:
        faults.insert(0, f"{rows_were(bad_rows.count)} not imported to {name}: {reasons_in_words(bad_rows.kinds)}")
    if any(faults):
        raise Failure("; ".join(filter(None, faults)))
