from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from shoal.records.decoding.lines import chunks_of, lines_of


class Dripping:
    """Gives its bytes in pieces of the given sizes."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._stream = io.BytesIO(data)
        self._sizes = sizes

    def read(self, size: int, /) -> bytes:
        return self._stream.read(self._sizes.pop() if self._sizes else size)


@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"x"))),
    st.booleans(),
    st.lists(st.integers(1, 5)),
    st.integers(1, 8),
)
def test_lines_come_out_whole_however_they_arrive(lines: list[bytes], ended: bool, sizes: list[int], limit: int):
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    expected = [line if len(line.rstrip(b"\n")) <= limit else None for line in io.BytesIO(data)]
    assert list(lines_of(chunks_of(Dripping(data, sizes)), limit)) == expected


def test_a_line_without_end_is_not_kept_in_memory():
    class Endless:
        given = 0

        def read(self, size: int, /) -> bytes:
            self.given += 1
            return b"x" * 1000 if self.given < 1000 else b"\nnext"[: size if self.given == 1000 else 0]

    assert list(lines_of(chunks_of(Endless()), 5000)) == [None, b"next"]
