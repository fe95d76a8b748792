"""The command that adds documents from files."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import click

from shoal.client import types
from shoal.client._transport.progress import bar
from shoal.client.cli.failure import Failure
from shoal.client.cli.files.mapping import FieldMapping
from shoal.client.cli.files.rows import BadRow, Reader, reader_of
from shoal.client.cli.output import cell, print_json
from shoal.client.cli.session import Session, remote

REPORTED_ROWS = 20


class _Source:
    """The documents of all files, one after another. Remembers where each came from, and reports what is bad."""

    def __init__(self, paths: list[Path], mapping: FieldMapping) -> None:
        # All are looked up before the first document is sent: a mistyped name should change nothing.
        self._files: list[tuple[Path, Reader]] = [(path, reader_of(path)) for path in paths]
        self._mapping = mapping
        self._file_of = array("L")
        self._line_of = array("Q")
        self.bad_rows = 0

    def __iter__(self) -> Iterator[types.Document]:
        for number, (path, read) in enumerate(self._files):
            checked = False
            for row in read(path):
                if isinstance(row, BadRow):
                    self._report(path, row.line, row.reason)
                    continue
                if not checked and (missing := self._mapping.missing(row.values)):
                    raise Failure(f"{path}: {missing}")
                checked = True
                try:
                    document = self._mapping.document(row.values)
                except ValueError as error:
                    self._report(path, row.line, str(error))
                    continue
                self._file_of.append(number)
                self._line_of.append(row.line)
                yield document

    def refused(self, refusal: types.Refusal) -> None:
        """Reports a document that the server, or the client, refused."""
        path, _ = self._files[self._file_of[refusal.position]]
        self._report(path, self._line_of[refusal.position], f"document {refusal.id!r}: {refusal.error}")

    def _report(self, path: Path, line: int, reason: str) -> None:
        self.bad_rows += 1
        if self.bad_rows <= REPORTED_ROWS:
            click.echo(f"{path}:{line}: {cell(reason)}", err=True)
        elif self.bad_rows == REPORTED_ROWS + 1:
            click.echo("further bad rows are counted, not shown", err=True)


@click.command(
    short_help="Add documents from files.",
    epilog="\b\nExamples:\n  shoal add papers papers.jsonl.xz more.parquet\n  shoal add notes ~/notes\n"
    "  shoal add papers papers.csv --id-field doi --text-field title --text-field abstract\n\n"
    "Fields that are neither id nor text become the document's payload.",
)
@click.argument("name")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--id-field", default="", help="Field with the document's id; by default id, _id or path.")
@click.option(
    "--text-field",
    "text_fields",
    multiple=True,
    help="Field with the text; several are joined with a blank. By default title, and text, content or body.",
)
@click.option("--vector-field", default="", help="Field with a vector of your own, used in place of the model's.")
@click.option("--batch", type=click.IntRange(min=1), help="Documents per message.")
@click.option("--wait", is_flag=True, help="Return once the documents are searchable.")
@remote
def add(
    session: Session,
    name: str,
    files: tuple[Path, ...],
    id_field: str,
    text_fields: tuple[str, ...],
    vector_field: str,
    batch: int | None,
    wait: bool,
) -> None:
    """Add the documents in FILE... to NAME: JSON lines, CSV, Parquet (.gz, .xz too), or folders of text files."""
    source = _Source(list(files), FieldMapping(id_field, text_fields, vector_field))
    started_at_s = time.monotonic()
    with bar(f"adding to {name}", None) as advance:

        def tell(progress: types.UploadProgress) -> None:
            advance(progress.acknowledged)
            for refusal in progress.latest_refusals:
                source.refused(refusal)

        summary = session.client.upsert_many(name, source, batch_size=batch, progress=tell, wait=wait)
    seconds = time.monotonic() - started_at_s
    written = summary.documents - summary.refused
    if session.json:
        print_json(
            {
                "collection": name,
                "written": written,
                "changed": summary.changed,
                "bad_rows": source.bad_rows,
                "token": summary.token,
                "seconds": round(seconds, 3),
            }
        )
    else:
        click.echo(f"{written} documents in {name}, {summary.changed} of them new or changed; {seconds:.1f} s")
    if source.bad_rows:
        raise Failure(f"{source.bad_rows} rows were not added to {name}")
