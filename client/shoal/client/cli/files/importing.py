"""The command that imports the output of `shoal encode` into a collection."""

from __future__ import annotations

import time

import click

from shoal.client import types
from shoal.client._transport.progress import bar
from shoal.client.cli.files.encoded import EncodedFolder
from shoal.client.cli.session import Session, remote
from shoal.console import BadRowReport, Failure, print_json
from shoal.records import row_message


@click.command(
    "import",
    short_help="Import the output of 'shoal encode' into a collection.",
    epilog="\b\nExample:\n  shoal encode wiki.jsonl --model all-MiniLM-L6-v2 --output wiki-vectors\n"
    "  shoal create wiki --model all-MiniLM-L6-v2\n  shoal import wiki wiki-vectors",
)
@click.argument("name")
@click.argument("directory", metavar="DIR")
@click.option("--batch", type=click.IntRange(min=1), help="Documents per message.")
@click.option("--wait", is_flag=True, help="Return when the documents are searchable.")
@remote
def import_(session: Session, name: str, directory: str, batch: int | None, wait: bool) -> None:
    """Add the documents that 'shoal encode' wrote to DIR to the collection NAME, with their vectors.

    Nothing is encoded again. The collection must have the model that made the vectors. Documents that it already has with
    the same text and payload stay as they are, so an interrupted import can be run again.
    """
    folder = EncodedFolder(directory)
    folder.check_model(session.client.get_collection(name))
    bad_rows = BadRowReport()
    started_at_s = time.monotonic()
    with bar(f"importing to {name}", folder.rows) as advance:

        def report(progress: types.UploadProgress) -> None:
            advance(progress.acknowledged)
            for refusal in progress.latest_refusals:
                file, row = folder.location(refusal.position)
                bad_rows.add(row_message(file, row, f"document {refusal.id!r}: {refusal.error}"))

        size = batch or session.client.describe().limits.documents_per_write
        summary = session.client.upsert_many(name, folder.documents(), batch_size=size, progress=report, wait=wait)
    seconds = time.monotonic() - started_at_s
    written = summary.documents - summary.refused
    if session.json:
        print_json(
            {
                "collection": name,
                "written": written,
                "changed": summary.changed,
                "bad_rows": bad_rows.count,
                "token": summary.token,
                "seconds": round(seconds, 3),
            }
        )
    else:
        pace = f"{written / seconds:.0f} rows/s" if seconds else ""
        click.echo(f"{written} documents in {name}, {summary.changed} of them new or changed; {seconds:.1f} s, {pace}")
    if bad_rows.count:
        raise Failure(f"{bad_rows.count} rows were not imported to {name}")
