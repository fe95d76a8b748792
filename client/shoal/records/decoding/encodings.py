"""Converts text to UTF-8 from the encoding of its byte order mark: UTF-8, UTF-16 or UTF-32. Without a mark it is UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

from shoal.records.errors import Damaged

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, because this mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HEAD_BYTES = 4


def utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in UTF-8, without the mark.

    UTF-8 is not checked, and an invalid character in UTF-16 becomes bytes that are not UTF-8, so that only its row is bad.
    Raises Damaged if the text ends within a character, or is UTF-16 or UTF-32 without a mark.
    """
    source = iter(chunks)
    head = b""
    damage: Damaged | None = None
    try:
        while len(head) < _HEAD_BYTES and (chunk := next(source, None)) is not None:
            head += chunk
    except Damaged as error:
        damage = error
    mark, encoding = _mark(head)
    if not mark and (guess := _unmarked(head[:_HEAD_BYTES])):
        raise Damaged(f"the text looks like {guess} without a byte order mark: save it as UTF-8")
    body = chain([head[len(mark) :]], source)
    yield from body if encoding == "utf-8" else _recoded(body, encoding)
    if damage is not None:
        raise damage


def is_utf8(head: bytes) -> bool:
    """Whether a text that begins with these bytes, four or all it has, is UTF-8 as far as they show."""
    return _mark(head)[1] == "utf-8" and not _unmarked(head)


def _mark(head: bytes) -> tuple[bytes, str]:
    return next(((mark, encoding) for mark, encoding in _MARKS if head.startswith(mark)), (b"", "utf-8"))


def _unmarked(head: bytes) -> str:
    """UTF-16 or UTF-32 if the zero bytes of ASCII characters show it; otherwise ""."""
    zeros = tuple(byte == 0 for byte in head)
    if zeros in ((False, True, True, True), (True, True, True, False)):
        return "UTF-32"
    return "UTF-16" if zeros in ((False, True, False, True), (True, False, True, False)) else ""


def _recoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(encoding, "surrogatepass")
        yield before.encode("utf-8", "surrogatepass")
        raise Damaged(f"not {encoding.upper()}: {error.reason}") from None
