"""Rows that a command cannot use: how they are shown and kept, and in which order. No I/O."""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shoal.records.rows import row_message


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was refused, by the reader or by the server."""

    source: str
    """Path or URI of its file."""
    line: int
    reason: str
    id: str = ""
    """Empty where it is unknown."""
    shown: str = ""
    """The file as the user named it; empty for `source`."""

    @property
    def message(self) -> str:
        """FILE:LINE: reason."""
        return row_message(self.shown or self.source, self.line, self.reason)

    @property
    def kind(self) -> str:
        """The reason without its particulars, for counting."""
        return self.reason.partition(": ")[0]

    @property
    def json(self) -> str:
        """The line that keeps it in a file."""
        return json.dumps({"source": self.source, "line": self.line, "id": self.id, "reason": self.reason})


def rows_were(count: int) -> str:
    """The beginning of a sentence about this many rows."""
    return "1 row was" if count == 1 else f"{count} rows were"


def reasons_in_words(kinds: Mapping[str, int]) -> str:
    """How many rows were refused for which reason, the commonest first; empty for none."""
    common = sorted(kinds.items(), key=lambda one: -one[1])
    named = [f"{count} {kind}" for kind, count in common[:_NAMED_KINDS]]
    if rest := sum(count for _, count in common[_NAMED_KINDS:]):
        named.append(f"{rest} for other reasons")
    return "; ".join(named)


_NAMED_KINDS = 8


def null_messages(nulls: Mapping[str, int]) -> list[str]:
    """What is said of fields in which NaN or an infinity became null, in so many rows each."""
    return [
        f"NaN or infinity became null in field {field!r} of {count} row{'s' * (count > 1)}" for field, count in nulls.items()
    ]


class RejectsInOrder:
    """Puts rows that were refused into the order of the input: what the reader refuses is known before what the server
    refuses of the rows in front of it."""

    def __init__(self) -> None:
        self._documents = 0
        self._read: deque[tuple[int, RejectedRow]] = deque()
        self._refused: list[tuple[int, int, RejectedRow]] = []
        self._count = 0

    def document(self) -> None:
        """The next row went to the server."""
        self._documents += 1

    def read(self, row: RejectedRow) -> None:
        """The next row was refused by the reader."""
        self._read.append((self._documents, row))

    def refused(self, position: int, row: RejectedRow) -> None:
        """The server refused the row that `document` told of as the one at `position`, from 0."""
        self._count += 1
        heapq.heappush(self._refused, (position, self._count, row))

    def settled(self, documents: int | None = None) -> Iterator[RejectedRow]:
        """The rows before the document at this position, when all of those are answered; None: all that are left."""
        while True:
            read = self._read[0][0] if self._read else None
            refused = self._refused[0][0] if self._refused else None
            if refused is not None and (read is None or refused < read):
                if documents is not None and refused >= documents:
                    return
                yield heapq.heappop(self._refused)[2]
            elif read is not None and (documents is None or read <= documents):
                yield self._read.popleft()[1]
            else:
                return
