"""Reads CSV and TSV: records as in RFC 4180; the first one names the columns."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator

from shoal.records.decoding.lines import lines_of
from shoal.records.errors import Damaged, one_line
from shoal.records.rows import BadRow, BareRow, Row

RECORD_LINES = 100_000
"""Longest record, held in memory. A longer one means that a quote was not closed."""


def table_rows(
    chunks: Iterable[bytes], delimiter: str, columns: Collection[str] | None, line_bytes: int
) -> Iterator[Row | BadRow]:
    """The records of UTF-8 text by their columns; blank lines are skipped. Raises what `chunks` raises.

    Bytes that are not UTF-8 become lone surrogates, so that only their row is bad, not the file. A header that cannot be
    read, or that has one of the requested `columns` (None: any) twice, is a bad row and the last row.
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
            yield BadRow(line, f"wrong number of fields: {len(record)}, the header has {len(names)}")
        elif any(record[index] for index in nameless):
            yield BadRow(line, "a value is in a column without a name")
        else:
            values = dict(zip(names, record, strict=True))
            if nameless:
                del values[""]
            yield Row(line, values)


def bare_rows(chunks: Iterable[bytes], delimiter: str, line_bytes: int, comment: str = "") -> Iterator[BareRow | BadRow]:
    """The records of UTF-8 text that may have no header; blank lines and those that begin with `comment` are skipped.

    Bytes that are not UTF-8 become lone surrogates. Raises what `chunks` raises.
    """
    for line, record in _records(chunks, delimiter, line_bytes, comment):
        yield BadRow(line, record) if isinstance(record, str) else BareRow(line, record)


def header_fault(names: Collection[str], columns: Collection[str] | None) -> str:
    """What is wrong with a header, empty if nothing. Several columns may lack a name as long as they are empty."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            return f"a column's name is not valid Unicode: {name!a:.40}"
    twice = [name for name, count in Counter(names).items() if count > 1 and name and (columns is None or name in columns)]
    return f"column {twice[0]!r} is in the header twice: rename one, so that none of their values is lost" if twice else ""


def _records(
    chunks: Iterable[bytes], delimiter: str, line_bytes: int, comment: str = ""
) -> Iterator[tuple[int, list[str] | str]]:
    """Each record with its last line, or the reason why a record cannot be read, with its first line.

    A quote that is never closed includes the following lines in its record. Those lines are read again without the first.
    Of them, a line with a quote within a field is refused: it may be a part of a record.
    """
    csv.field_size_limit(line_bytes)
    lines = _Lines(chunks, line_bytes, comment)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    reread_until = 0
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            reread_until = max(reread_until, lines.number)
            yield lines.first, f"not CSV: {one_line(error)}"
            # If the file is damaged in the middle of a record, no whole record follows.
            if lines.damage is None or lines.damage.complete:
                lines.reread()
            lines.begin()
            continue
        long = lines.take_long()
        for number in long:
            yield number, f"the line is longer than {line_bytes} bytes"
        if record is None:
            if lines.damage is not None:
                raise lines.damage
            return
        if record and lines.number <= reread_until and lines.has_stray_quote(delimiter):
            yield lines.number, "not CSV: a quote within a field"
        elif record and not long:
            yield lines.number, record
        lines.begin()


class _Lines:
    """The lines for a csv.reader; can go back to the second line of a record."""

    def __init__(self, chunks: Iterable[bytes], line_bytes: int, comment: str) -> None:
        self._comment = comment
        self._lines = enumerate(lines_of(chunks, line_bytes), start=1)
        self._back: deque[tuple[int, str]] = deque()
        self._record: list[tuple[int, str]] = []
        self._long: list[int] = []
        self.number = 0
        """Number of the last line given."""
        self.damage: Damaged | None = None
        """The damage that ended the lines."""

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
        if self._comment and not self._record and line.startswith(self._comment):
            line = "\n"
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

    def reread(self) -> None:
        """Gives the lines of this record again, except the first."""
        self._back.extendleft(reversed(self._record[1:]))

    def take_long(self) -> list[int]:
        """Numbers of the lines left out because they are too long, each reported once."""
        taken, self._long = self._long, []
        return taken

    def has_stray_quote(self, delimiter: str) -> bool:
        """Whether this record has a quote within an unquoted field."""
        text = "".join(line for _, line in self._record).rstrip("\r\n")
        return '"' in re.sub(rf'(^|{delimiter})"(?:[^"]|"")*"(?={delimiter}|$)', r"\1", text)
