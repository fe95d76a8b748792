"""The command that adds documents from files."""

from __future__ import annotations

import time
from pathlib import Path

import click

from shoal.client import types
from shoal.client._transport.progress import bar
from shoal.client.cli.files.document_source import DocumentSource
from shoal.client.cli.files.pruning import Gone, delete_gone, find_gone, source_of
from shoal.client.cli.files.searchable import report_failures, searchable_counts, searchable_in_words
from shoal.client.cli.files.uploading import upload
from shoal.client.cli.session import Session, remote
from shoal.console import BadRowReport, Failure, FilePath, cell, print_json, print_note
from shoal.records import Fields, RecordLimits, null_messages, reasons_in_words, rows_were

SHOWN_GONE = 20
STDIN_FORMATS = ("jsonl", "csv", "tsv")


@click.command(
    short_help="Add documents from files.",
    epilog="\b\nExamples:\n  shoal add papers papers.jsonl.xz more.parquet\n  shoal add notes ~/notes --prune\n"
    "  shoal add papers papers.csv --id-field doi --text-field title --text-field abstract --keep year\n"
    "  zstdcat papers.jsonl.zst | shoal add papers -\n\n"
    "Fields that are neither id nor text become the document's payload. docs/files.md says which files are read and how.",
)
@click.argument("name")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--id-field", default="", help="Field with the document's id.  [default: id, _id or path]")
@click.option(
    "--text-field",
    "text_fields",
    multiple=True,
    help="Field with the text. Repeat it to join several with a space.  [default: title and one of text, content, body]",
)
@click.option("--vector-field", default="", help="Field with your own vector, used instead of the model's.")
@click.option("--keep", "kept", multiple=True, metavar="FIELD", help="Field for the payload.  [default: all other fields]")
@click.option("--no-payload", is_flag=True, help="Keep only id and text.")
@click.option("--hidden", is_flag=True, help="Also read files and folders whose names begin with a dot or an underscore.")
@click.option(
    "--format",
    "stdin_format",
    type=click.Choice(STDIN_FORMATS),
    default="jsonl",
    show_default=True,
    help="Format of standard input, which - stands for.",
)
@click.option("--rejects", type=FilePath(), metavar="FILE", help="Write the bad rows to FILE, as JSON lines.")
@click.option("--prune", is_flag=True, help="Then delete what earlier runs added from this folder and is gone from it.")
@click.option("--force", is_flag=True, help="With --prune: also if more than half is gone.")
@click.option("--dry-run", is_flag=True, help="Only show what would be added and deleted.")
@click.option("--batch", type=click.IntRange(min=1), help="Documents per message.")
@click.option("--wait", is_flag=True, help="Return when the documents are searchable.")
@remote
def add(
    session: Session,
    name: str,
    files: tuple[str, ...],
    id_field: str,
    text_fields: tuple[str, ...],
    vector_field: str,
    kept: tuple[str, ...],
    no_payload: bool,
    hidden: bool,
    stdin_format: str,
    rejects: Path | None,
    batch: int | None,
    wait: bool,
    prune: bool,
    force: bool,
    dry_run: bool,
) -> None:
    """Add the documents in FILE... to the collection NAME.

    FILE is Parquet, JSON lines, CSV, TSV (these also with .gz or .xz), a text file, a folder, a pattern or a URI. A row that
    cannot be added is reported with its file and line; the others are added. Run it again after edits: unchanged documents
    stay as they are.
    """
    if kept and no_payload:
        raise click.UsageError("--keep and --no-payload exclude each other")
    origin = source_of(files)
    if prune and not origin:
        raise click.UsageError("--prune takes one folder")
    fields = Fields(id_field, text_fields, () if no_payload else kept or None, vector_field)
    source = DocumentSource(files, fields, _limits(session, name), hidden, f".{stdin_format}", keep_ids=prune)
    if source.note:
        print_note(source.note)
    if dry_run:
        _show_plan(session, name, source, origin if prune else "", force, rejects)
        return
    started_at_s = time.monotonic()
    summary, bad_rows = _upload(session, name, source, origin, batch, rejects, wait)
    deleted, unpruned = _prune(session, name, source, origin, force, wait) if prune else (0, "")
    seconds = time.monotonic() - started_at_s
    # What was odd about rows that were added.
    for message in (*source.repeated.lines(), *null_messages(source.nulls)):
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
                "repeated_ids": source.repeated.count,
                **({"deleted": deleted} if prune else {}),
                "token": summary.token,
                "seconds": round(seconds, 3),
                **(searchable_counts(summary) if wait else {}),
            }
        )
    else:
        gone = f", {deleted} deleted" if prune else ""
        shown = f", {searchable_in_words(summary)}" if wait else ""
        shown = f"{summary.changed} of them new or changed{shown}{gone}"
        click.echo(f"{written} documents in {name}, {shown}; {seconds:.1f} s")
    failures = [unpruned] if unpruned else []
    if bad_rows.count:
        failures.append(f"{rows_were(bad_rows.count)} not added to {name}: {reasons_in_words(bad_rows.kinds)}")
    failures.append(report_failures(summary))
    if any(failures):
        raise Failure("; ".join(filter(None, failures)))


def _upload(
    session: Session,
    name: str,
    source: DocumentSource,
    origin: str,
    batch: int | None,
    rejects: Path | None,
    wait: bool,
) -> tuple[types.UpsertSummary, BadRowReport]:
    """Sends all documents, and reports bad rows in their order as soon as those before them are answered."""
    with BadRowReport(rejects=rejects) as bad_rows, bar(f"adding to {name}", None) as advance:

        def report(progress: types.UploadProgress) -> None:
            advance(progress.acknowledged)
            for refusal in progress.latest_refusals:
                source.refused(refusal)
            for row in source.settled(progress.settled):
                bad_rows.add(row)

        try:
            summary = upload(session.client, name, source, batch, report, wait, origin)
        finally:
            for row in source.settled():
                bad_rows.add(row)
    return summary, bad_rows


def _prune(session: Session, name: str, source: DocumentSource, origin: str, force: bool, wait: bool) -> tuple[int, str]:
    """Deletes what is gone from the folder; all that is there is stored by now. Returns how many, or 0 and why none."""
    try:
        gone = _gone(session, name, source, origin)
        gone.check(origin, force)
    except Failure as error:
        return 0, error.message
    return delete_gone(session.client, name, origin, gone, wait), ""


def _gone(session: Session, name: str, source: DocumentSource, origin: str) -> Gone:
    if source.without_id:
        unreadable = f"{rows_were(source.without_id)} not readable, and their ids are not known"
        raise Failure(f"{unreadable}: nothing was deleted")
    return find_gone(session.client, name, origin, source.ids or set())


def _show_plan(session: Session, name: str, source: DocumentSource, origin: str, force: bool, rejects: Path | None) -> None:
    """Reads everything and writes nothing. `origin` is empty if nothing is to be deleted."""
    with BadRowReport(rejects=rejects) as bad_rows:
        documents = sum(1 for _ in source)
        for row in source.settled():
            bad_rows.add(row)
    gone = _gone(session, name, source, origin) if origin else Gone([], 0)
    if session.json:
        print_json({"collection": name, "documents": documents, "bad_rows": bad_rows.count, "gone": gone.ids})
    else:
        for document_id in gone.ids[:SHOWN_GONE]:
            click.echo(f"gone: {cell(document_id)}")
        if len(gone.ids) > SHOWN_GONE:
            click.echo(f"and {len(gone.ids) - SHOWN_GONE} more; --json shows all")
        deleted = f", {len(gone.ids)} of {gone.held} would be deleted" if origin else ""
        click.echo(f"{documents} documents would be in {name}{deleted}; nothing was written")
    gone.check(origin, force)
    if bad_rows.count:
        raise Failure(f"{rows_were(bad_rows.count)} not readable: {reasons_in_words(bad_rows.kinds)}")


def _limits(session: Session, name: str) -> RecordLimits:
    limits = session.client.describe().limits
    stores_empty = session.client.get_collection(name).empty_text != "reject"
    return RecordLimits(limits.id_bytes, limits.text_bytes, limits.payload_bytes, stores_empty)
