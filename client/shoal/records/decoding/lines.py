"""Cuts a stream of bytes into lines, in bounded memory for lines of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from shoal.records.errors import Damaged

CHUNK_BYTES = 1 << 16


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes: ...


def chunks_of(stream: Readable) -> Iterator[bytes]:
    """The bytes of a stream in chunks."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def lines_of(chunks: Iterable[bytes], limit: int) -> Iterator[bytes | None]:
    r"""Lines with their ends (b"\n"), the last one as it is; None instead of a line of more than `limit` bytes.

    Holds at most `limit` bytes and a chunk. Raises Damaged if `chunks` does; a line that the damage cut is dropped.
    """
    pieces: list[bytes] = []
    held = 0
    skipping = False
    damage: Damaged | None = None
    source = iter(chunks)
    while True:
        try:
            chunk = next(source, None)
        except Damaged as error:
            if not error.complete:
                raise
            chunk, damage = None, error
        if chunk is None:
            break
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
    if damage is not None:
        raise damage
