"""Cuts a stream of bytes into lines, in bounded memory however long a line is. For any format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

CHUNK_BYTES = 1 << 16


class Readable(Protocol):
    """What lines are read from."""

    def read(self, size: int, /) -> bytes: ...


def lines_of(stream: Readable, limit: int) -> Iterator[bytes | None]:
    r"""Lines with their ends (b"\n"), the last one as it is; None in place of a line of more than `limit` bytes.

    Holds at most `limit` bytes and a chunk.
    """
    pieces: list[bytes] = []
    held = 0
    skipping = False
    while chunk := stream.read(CHUNK_BYTES):
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            if not skipping and held + len(line) <= limit:
                yield b"".join((*pieces, line, b"\n"))
            else:
                yield None
            pieces, held, skipping = [], 0, False
        held += len(rest)
        if held > limit:
            pieces, skipping = [], True
        elif rest and not skipping:
            pieces.append(rest)
    if skipping:
        yield None
    elif pieces:
        yield b"".join(pieces)
