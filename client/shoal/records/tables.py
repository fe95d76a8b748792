"""Reads CSV and TSV: records as RFC 4180 has them, the first of which names the columns."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator

from shoal.records.errors import Damaged, one_line
from shoal.records.lines import lines_of
from shoal.records.rows import BadRow, Row

RECORD_LINES = 100_000
"""A longer record is none: a quote was not closed. They are held in memory."""


def table_rows(
    chunks: Iterable[bytes], delimiter: str, columns: Collection[str] | None, line_bytes: int
) -> Iterator[Row | BadRow]:
    """The records of UTF-8 text by their columns; blank lines are skipped. Raises what `chunks` raises.

    Bytes that are not UTF-8 become lone surrogates, so that they spoil one row and not the file. A header that cannot be
    read, or that has one of the wanted `columns` (None: any) twice, is a bad row and the last one.
    """
    records = _records(chunks, delimiter, line_bytes)
    header = next(((line, found) for line, found in records), None)
    if header is None:
        return
    line, names = header
    if isinstance(names, str):
        yield BadRow(line, f"the header cannot be read: {names}", whole_file=True)
        return
    if reason := header_fault(names, columns):
        yield BadRow(line, reason, whole_file=True)
        return
    nameless = [index for index, name in enumerate(names) if not name] if names.count("") > 1 else []
    for line, record in records:
        if isinstance(record, str):
            yield BadRow(line, record)
        elif len(record) != len(names):
            yield BadRow(line, f"not as many fields as the header has: {len(record)}, not {len(names)}")
        elif any(record[index] for index in nameless):
            yield BadRow(line, "a value is in a column without a name")
        else:
            values = dict(zip(names, record, strict=True))
            if nameless:
                del values[""]
            yield Row(line, values)


def header_fault(names: Collection[str], columns: Collection[str] | None) -> str:
    """Why a header gives no rows, empty when it does. Several columns without a name are none as long as they are empty."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            return f"a column's name is not valid Unicode: {name!a:.40}"
    twice = [name for name, count in Counter(names).items() if count > 1 and name and (columns is None or name in columns)]
    return f"column {twice[0]!r} is in the header twice: rename one, so that none of their values is lost" if twice else ""


def _records(chunks: Iterable[bytes], delimiter: str, line_bytes: int) -> Iterator[tuple[int, list[str] | str]]:
    """Each record with its last line, or in place of a record the reason why it cannot be read, with its first line.

    A quote that is never closed takes the lines that follow with it: those are read anew, without that one. Of them, a
    line with a quote within a field is not taken: it may be a piece of a record.
    """
    csv.field_size_limit(line_bytes)
    lines = _Lines(chunks, line_bytes)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    anew_until = 0
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            anew_until = max(anew_until, lines.number)
            yield lines.first, f"not CSV: {one_line(error)}"
            # What ends in the middle of a record because the file is damaged has no whole records in it.
            if lines.damage is None or lines.damage.complete:
                lines.read_anew()
            lines.begin()
            continue
        long = lines.take_long()
        for number in long:
            yield number, f"the line is longer than {line_bytes} bytes"
        if record is None:
            if lines.damage is not None:
                raise lines.damage
            return
        if record and lines.number <= anew_until and lines.has_stray_quote(delimiter):
            yield lines.number, "not CSV: a quote within a field"
        elif record and not long:
            yield lines.number, record
        lines.begin()


class _Lines:
    """The lines for a csv.reader, which may go back to the second line of a record."""

    def __init__(self, chunks: Iterable[bytes], line_bytes: int) -> None:
        self._lines = enumerate(lines_of(chunks, line_bytes), start=1)
        self._back: deque[tuple[int, str]] = deque()
        self._record: list[tuple[int, str]] = []
        self._long: list[int] = []
        self.number = 0
        """The line given last."""
        self.damage: Damaged | None = None
        """What the lines ended with."""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._back:
            number, line = self._back.popleft()
        else:
            try:
                number, raw = next(self._lines)
            except Damaged as error:
                self.damage = error
                raise StopIteration from None
            if raw is None:
                self._long.append(number)
            line = (raw or b"\n").decode("utf-8", "surrogateescape")
        self.number = number
        self._record.append((number, line))
        if len(self._record) > RECORD_LINES:
            raise csv.Error(f"a record of more than {RECORD_LINES} lines")
        return line

    @property
    def first(self) -> int:
        """The first line of the record that is being read."""
        return self._record[0][0] if self._record else self.number + 1

    def begin(self) -> None:
        """The next line begins a record."""
        self._record.clear()

    def read_anew(self) -> None:
        """Gives the lines of this record but the first once more."""
        self._back.extendleft(reversed(self._record[1:]))

    def take_long(self) -> list[int]:
        """Lines left out because they are too long, each told once."""
        taken, self._long = self._long, []
        return taken

    def has_stray_quote(self, delimiter: str) -> bool:
        """Whether a quote of this record stands within a field that is not quoted."""
        text = "".join(line for _, line in self._record).rstrip("\r\n")
        return '"' in re.sub(rf'(^|{delimiter})"(?:[^"]|"")*"(?={delimiter}|$)', r"\1", text)
