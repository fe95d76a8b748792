"""Decompresses gzip and xz piece by piece and gives all that comes before a damage, where Python's own files lose a part.

Raises `Damaged` once everything readable has been given.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator

from shoal.records.errors import Damaged, one_line

_GZIP_BYTES = 1 << 16
"""Decompressed at once, which bounds memory and the work of going back to a damage."""
_XZ_BYTES = 1 << 10
"""The same for xz, whose decoder cannot be copied: where it finds damage, at most so much before that is lost."""
_GZIP_START, _XZ_START = b"\x1f\x8b", b"\xfd7zXZ\x00"


def decompressed(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """The content of a stream that is compressed by `compression`: ".gz", ".xz", or "" for none."""
    if compression == ".gz":
        return _members(chunks, "gzip", _GZIP_START, _gunzip)
    if compression == ".xz":
        return _members(chunks, "xz", _XZ_START, _unxz)
    return iter(chunks)


class _Input:
    """The chunks of a stream; what a member does not need can be put back."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._back = b""

    def next(self) -> bytes:
        """Some bytes; none at the end."""
        data, self._back = self._back, b""
        return data or next((chunk for chunk in self._chunks if chunk), b"")

    def put_back(self, data: bytes) -> None:
        self._back = data + self._back


def _members(
    chunks: Iterable[bytes], name: str, start: bytes, decoded: Callable[[_Input], Iterator[bytes]]
) -> Iterator[bytes]:
    """One compressed stream after another; zeros between them are padding."""
    source = _Input(chunks)
    first = True
    while data := source.next():
        data = data if first else data.lstrip(b"\0")
        if not data:
            continue
        while len(data) < len(start) and (more := source.next()):
            data += more
        if not first and not data.startswith(start):
            raise Damaged(f"what follows the {name} data is not {name}", complete=True)
        source.put_back(data)
        yield from decoded(source)
        first = False


def _gunzip(source: _Input) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    while data := source.next():
        more = True
        while more and not decoder.eof:
            before = decoder.copy()
            try:
                content = decoder.decompress(data, _GZIP_BYTES)
            except zlib.error as error:
                yield _before_damage(before, data)
                raise Damaged(_reason(error)) from None
            data = decoder.unconsumed_tail
            more = bool(data) or len(content) == _GZIP_BYTES
            if content:
                yield content
        if decoder.eof:
            source.put_back(decoder.unused_data)
            return
    raise Damaged("the compressed data is cut short")


def _before_damage(decoder: zlib._Decompress, data: bytes) -> bytes:
    """What comes out of `data` before it is damaged: a call that fails gives nothing, so the calls become smaller."""
    content = bytearray()
    for size in (1024, 1):
        while data:
            before = decoder.copy()
            try:
                content += decoder.decompress(data[:size])
            except zlib.error:
                decoder, data = before, data[:size]
                break
            data = data[size:]
    try:
        while byte := decoder.decompress(data, 1):
            content += byte
            data = decoder.unconsumed_tail
    except zlib.error:
        pass
    return bytes(content)


def _unxz(source: _Input) -> Iterator[bytes]:
    decoder = lzma.LZMADecompressor()
    while data := source.next():
        more = True
        while more and not decoder.eof:
            try:
                content = decoder.decompress(data, _XZ_BYTES)
            except lzma.LZMAError as error:
                raise Damaged(_reason(error)) from None
            data, more = b"", not decoder.needs_input
            if content:
                yield content
        if decoder.eof:
            source.put_back(decoder.unused_data)
            return
    raise Damaged("the compressed data is cut short")


def _reason(error: Exception) -> str:
    return one_line(error).removeprefix("Error -3 while decompressing data: ")
