"""The documents in users' files, and a report of the rows that are none. Sends nothing."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

from shoal.client import types
from shoal.console import Failure
from shoal.records import (
    BadRecord,
    BadRow,
    Fields,
    InputError,
    InputFile,
    RecordLimits,
    RejectedRow,
    RejectsInOrder,
    RepeatedIdNotes,
    as_given,
    check_record,
    find_inputs,
    first_row_fault,
    read_file,
)

_OTHER_PLACE = re.compile(r"documents\[\d+\]\.?(\w*)")
_PLACE = re.compile(r"documents\[\d+\]\.?([\w.]*)(\[\d+\])?:? ?")


class DocumentSource:
    """The documents of all inputs, one after another. Remembers where each came from.

    Raises Failure for an input that cannot be found or read.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        fields: Fields,
        limits: RecordLimits,
        hidden: bool = False,
        stdin_suffix: str = "",
        keep_ids: bool = False,
    ) -> None:
        self._fields = fields
        self._limits = limits
        self._files: list[InputFile] = []
        self._shown: list[str] = []
        # Checked before the first document is sent: a mistyped name should change nothing.
        try:
            found = find_inputs(inputs, hidden, stdin_suffix)
            for given, files in zip(inputs, found, strict=True):
                self._files += files
                self._shown += [as_given(given, file.path) for file in files]
                # Standard input can be read only once.
                if given != "-" and (fault := first_row_fault(files[0], fields)):
                    raise Failure(f"{self._shown[-len(files)]}: {fault}")
        except InputError as error:
            raise Failure(str(error)) from error
        self.note = found.note
        """What is to be said of the files; may be empty."""
        self.repeated = RepeatedIdNotes(self._location, "replaces the row at", " and replaced it")
        self.nulls: Counter[str] = Counter()
        """Rows by the field of their payload in which NaN or an infinity became null."""
        self.ids: set[str] | None = set() if keep_ids else None
        """With `keep_ids`: the ids of all rows, also of bad ones."""
        self.without_id = 0
        """Bad rows whose ids are not known."""
        self._file_of = array("L")
        self._line_of = array("Q")
        self._rejects = RejectsInOrder()

    def __iter__(self) -> Iterator[types.Document]:
        for index, file in enumerate(self._files):
            unchecked = file.path == "-"
            try:
                for row in read_file(file, self._fields.columns()):
                    if isinstance(row, BadRow):
                        self._rejects.read(self._rejected(index, row.line, row.reason))
                        self.without_id += 1
                        continue
                    if unchecked and (fault := self._fields.missing(row.values)):
                        raise Failure(f"-: {fault}")
                    unchecked = False
                    try:
                        record = self._fields.record(row.values)
                        check_record(record, self._limits)
                    except BadRecord as error:
                        self._rejects.read(self._rejected(index, row.line, error.reason, error.id))
                        self._note_id(error.id)
                        continue
                    self._remember(record.id, index, row.line)
                    self._note_id(record.id)
                    self.nulls.update(record.nulls)
                    yield types.Document(record.id, record.text, vector=record.vector, payload=record.payload)
            except InputError as error:
                raise Failure(str(error)) from error

    def refused(self, refusal: types.Refusal) -> None:
        """Takes a document that the server, or the client, refused."""
        index, line = self._file_of[refusal.position], self._line_of[refusal.position]
        row = self._rejected(index, line, refusal_reason(refusal), refusal.id)
        self._rejects.refused(refusal.position, row)

    def settled(self, documents: int | None = None) -> Iterator[RejectedRow]:
        """The bad rows, in order, before the document at this position, once all of those are answered; None: all."""
        return self._rejects.settled(documents)

    def _remember(self, id: str, index: int, line: int) -> None:
        position = len(self._file_of)
        self._file_of.append(index)
        self._line_of.append(line)
        self._rejects.document()
        self.repeated.add(id, position)

    def _note_id(self, id: str) -> None:
        if not id:
            self.without_id += 1
        elif self.ids is not None:
            self.ids.add(id)

    def _location(self, position: int) -> str:
        return f"{self._shown[self._file_of[position]]}:{self._line_of[position]}"

    def _rejected(self, index: int, line: int, reason: str, id: str = "") -> RejectedRow:
        return RejectedRow(self._files[index].path, line, reason, id, self._shown[index])


def refusal_reason(refusal: types.Refusal) -> str:
    """Why a document was refused: in the server's words, with its id in place of its position in a message."""
    message = str(refusal.error)
    field = at = ""
    if place := _PLACE.match(message):
        message = message[place.end() :]
        field, at = f"{place[1] or 'document'} ", f"at {place[2]}: " if place[2] else ""
    message = _OTHER_PLACE.sub(lambda other: f"another document's {other[1]}" if other[1] else "another document", message)
    return f"{field}refused: document {refusal.id!r}: {at}{message}"
