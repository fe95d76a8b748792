"""Reads the output folder of `shoal encode`: the model of its vectors, and its rows as documents."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoal.client.types import CollectionInfo, Document, Embedding
from shoal.console import Failure
from shoal.records import shown_path

FORMAT = 1
ROWS_AT_ONCE = 1024
_SUMMARY = "summary.json"


@dataclass(slots=True)
class EncodedFolder:
    """The output of a finished job, in a folder or at a URI of pyarrow.fs. Raises Failure, naming the folder."""

    root: str
    model: str = field(init=False)
    fingerprint: str = field(init=False)
    """Of its vectors: they are comparable with others of the same fingerprint."""
    rows: int = field(init=False, default=0)
    _model_fingerprint: str = field(init=False)
    _system: Any = field(init=False, repr=False)
    _base: str = field(init=False, repr=False)
    _names: list[str] = field(init=False, default_factory=list, repr=False)
    _rows_of: list[int] = field(init=False, default_factory=list, repr=False)
    _starts: list[int] = field(init=False, default_factory=list, repr=False)
    """Index of the first document of each file that was read."""
    _lost: list[list[int]] = field(init=False, default_factory=list, repr=False)
    """For each row of these files that is lost, the index of the next document."""

    def __post_init__(self) -> None:
        try:
            from pyarrow import ArrowException, fs
        except ModuleNotFoundError as error:
            raise Failure("reading Parquet needs pyarrow: pip install 'shoal[cluster]'") from error
        try:
            if "://" in self.root:
                self._system, self._base = fs.FileSystem.from_uri(self.root)
            else:
                self._system, self._base = fs.LocalFileSystem(), str(Path(self.root).absolute())
            found = {info.base_name for info in self._system.get_file_info(fs.FileSelector(self._base))}
        except (OSError, ValueError, ArrowException) as error:
            raise Failure(f"{shown_path(self.root)}: cannot be read: {_reason(error)}") from error
        if "job.json" not in found:
            raise Failure(f"{self.root}: no job.json: not a folder that shoal encode wrote")
        job = self._json("job.json")
        if job.get("format") != FORMAT:
            raise Failure(f"{self.root}: has format {job.get('format')}, this version of Shoal reads {FORMAT}")
        if _SUMMARY not in found:
            raise Failure(f"{self.root}: the job has not finished: run the same shoal encode again")
        self.model, self.fingerprint = str(job["model"]), str(job["fingerprint"])
        self._model_fingerprint = str(job["model_fingerprint"])
        for name in sorted(name for name in found if name.startswith("part-") and name.endswith(".json")):
            manifest = self._json(name)
            if manifest["data"] is not None:
                self._names.append(str(manifest["data"]["path"]))
                self._rows_of.append(int(manifest["rows"]))
        self.rows = sum(self._rows_of)

    def check_model(self, collection: CollectionInfo) -> None:
        """Raises Failure unless the collection's model makes the same vectors."""
        if collection.fingerprint == self.fingerprint:
            return
        has = f"{collection.model} ({collection.fingerprint})" if collection.model else "no model"
        why = ""
        if collection.fingerprint == self._model_fingerprint:
            why = ": the same model, but with another role, prompt, dimensions, normalization or truncation"
        made_by = f"{self.model} ({self.fingerprint})"
        raise Failure(f"{self.root}: its vectors are of {made_by}, but collection {collection.name} has {has}{why}")

    def documents(self, lost: Callable[[str, int, str], None]) -> Iterator[Document]:
        """All rows in order; reads a thousand at a time.

        A row that cannot be read is left out, and so are the others of a file that is damaged or gone: `lost` is called with
        the file, the row or the first of them, and the reason.
        """
        import pyarrow
        import pyarrow.parquet

        total = 0
        for name, rows in zip(self._names, self._rows_of, strict=True):
            self._starts.append(total)
            self._lost.append([])
            row = 0
            try:
                with self._system.open_input_file(f"{self._base}/{name}") as file:
                    for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=ROWS_AT_ONCE):
                        for document in _documents_or_errors(batch):
                            row += 1
                            if isinstance(document, Document):
                                total += 1
                                yield document
                            else:
                                self._lost[-1].append(total)
                                lost(f"{self.root}/{name}", row, f"not a document: {_reason(document)}")
            except (OSError, KeyError, pyarrow.ArrowException) as error:
                lost(f"{self.root}/{name}", row + 1, f"not Parquet: rows {row + 1} to {rows}: {_reason(error)}")

    def location(self, index: int) -> tuple[str, int]:
        """File and row, from 1, of a document that `documents` gave, by its index among those."""
        part = bisect_right(self._starts, index) - 1
        row = index - self._starts[part] + bisect_right(self._lost[part], index) + 1
        return f"{self.root}/{self._names[part]}", row

    def shown_location(self, index: int) -> str:
        """The location of a document as FILE:ROW."""
        file, row = self.location(index)
        return f"{file}:{row}"

    def _json(self, name: str) -> dict[str, Any]:
        try:
            with self._system.open_input_stream(f"{self._base}/{name}") as stream:
                return json.loads(stream.read())
        except (OSError, ValueError) as error:
            raise Failure(f"{self.root}/{name}: cannot be read: {_reason(error)}") from error


def _documents_or_errors(batch: Any) -> Iterator[Document | ValueError]:
    """The row of each document, or why it is none, which is looked for only if there is such a row."""
    try:
        yield from list(_documents(batch))
    except ValueError as error:
        if batch.num_rows == 1:
            yield error
            return
        for row in range(batch.num_rows):
            yield from _documents_or_errors(batch.slice(row, 1))


def _documents(batch: Any) -> Iterator[Document]:
    column = batch.column("vector")
    vectors = column.flatten().to_numpy().reshape(len(column), -1)
    names = ("id", "text", "payload", "fingerprint", "content_hash", "truncated")
    columns = [batch.column(name).to_pylist() for name in names]
    for vector, (id, text, payload, fingerprint, content_hash, truncated) in zip(
        vectors, zip(*columns, strict=True), strict=True
    ):
        embedding = Embedding(vector, fingerprint, content_hash, truncated)
        yield Document(id=id, text=text, payload=json.loads(payload), embedding=embedding)


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (said.strip() or type(error).__name__).splitlines()[0]
