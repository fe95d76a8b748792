"""The command that adds documents from files."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterator, Sequence

import click

from shoal.client import types
from shoal.client._transport.progress import bar
from shoal.client.cli.session import Session, remote
from shoal.console import BadRowReport, Failure, print_error, print_json
from shoal.records import (
    BadRecord,
    BadRow,
    Fields,
    InputError,
    InputFile,
    find_inputs,
    first_row_fault,
    read_file,
    row_message,
)


class _Source:
    """The documents of all files, in order. Remembers the file and line of each, and reports bad rows.

    Raises Failure for an input that cannot be found or read.
    """

    def __init__(self, inputs: Sequence[str], fields: Fields, hidden: bool) -> None:
        self._fields = fields
        self._files: list[InputFile] = []
        self._shown: list[str] = []
        # Checked before the first document is sent: after a mistyped name, nothing should be written.
        try:
            found = find_inputs(inputs, hidden)
            for given, files in zip(inputs, found, strict=True):
                relative = "://" not in given and not os.path.isabs(given)
                self._files += files
                self._shown += [os.path.relpath(file.path) if relative else file.path for file in files]
                if fault := first_row_fault(files[0], fields):
                    raise Failure(f"{self._shown[-len(files)]}: {fault}")
        except InputError as error:
            raise Failure(str(error)) from error
        self.note = found.note
        """What is to be said of the files; may be empty."""
        self._file_of = array("L")
        self._line_of = array("Q")
        self.bad_rows = BadRowReport()

    def __iter__(self) -> Iterator[types.Document]:
        for index, file in enumerate(self._files):
            try:
                for row in read_file(file, self._fields.columns()):
                    if isinstance(row, BadRow):
                        self._report(index, row.line, row.reason)
                        continue
                    try:
                        record = self._fields.record(row.values)
                    except BadRecord as error:
                        self._report(index, row.line, error.reason)
                        continue
                    self._file_of.append(index)
                    self._line_of.append(row.line)
                    yield types.Document(record.id, record.text, vector=record.vector, payload=record.payload)
            except InputError as error:
                raise Failure(str(error)) from error

    def refused(self, refusal: types.Refusal) -> None:
        """Reports a document that the server or the client refused."""
        index, line = self._file_of[refusal.position], self._line_of[refusal.position]
        self._report(index, line, f"document {refusal.id!r}: {refusal.error}")

    def _report(self, index: int, line: int, reason: str) -> None:
        self.bad_rows.add(row_message(self._shown[index], line, reason))


@click.command(
    short_help="Add documents from files.",
    epilog="\b\nExamples:\n  shoal add papers papers.jsonl.xz more.parquet\n  shoal add notes ~/notes\n"
    "  shoal add papers papers.csv --id-field doi --text-field title --text-field abstract\n\n"
    "Fields that are neither id nor text become the document's payload.",
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
@click.option("--hidden", is_flag=True, help="Also read files and folders whose names begin with a dot or an underscore.")
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
    hidden: bool,
    batch: int | None,
    wait: bool,
) -> None:
    """Add the documents in FILE... to the collection NAME.

    FILE is Parquet, JSON lines, CSV, TSV (these also with .gz or .xz), a text file, a folder, a pattern or a URI. A row that
    cannot be added is reported with its file and line; the others are added. Run it again after edits: unchanged documents
    stay as they are.
    """
    source = _Source(files, Fields(id_field, text_fields, vector=vector_field), hidden)
    if source.note:
        print_error(source.note)
    started_at_s = time.monotonic()
    with bar(f"adding to {name}", None) as advance:

        def report(progress: types.UploadProgress) -> None:
            advance(progress.acknowledged)
            for refusal in progress.latest_refusals:
                source.refused(refusal)

        summary = session.client.upsert_many(name, source, batch_size=batch, progress=report, wait=wait)
    seconds = time.monotonic() - started_at_s
    written = summary.documents - summary.refused
    if session.json:
        print_json(
            {
                "collection": name,
                "written": written,
                "changed": summary.changed,
                "bad_rows": source.bad_rows.count,
                "token": summary.token,
                "seconds": round(seconds, 3),
            }
        )
    else:
        click.echo(f"{written} documents in {name}, {summary.changed} of them new or changed; {seconds:.1f} s")
    if source.bad_rows.count:
        raise Failure(f"{source.bad_rows.count} rows were not added to {name}")
