"""Compressed files that are truncated, damaged or followed by garbage, and texts in encodings other than UTF-8."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.records import BadRow, Row, find_inputs, read_file
from shoal.records.decoding.compression import decompressed
from shoal.records.decoding.encodings import utf8
from shoal.records.errors import Damaged

ROWS = [{"id": number, "text": f"row {number} {random.Random(number).random()}"} for number in range(3000)]
CONTENT = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CUT = "the file is damaged or cut short from here on: "


def rows(path: Path) -> list[Row | BadRow]:
    return [row for files in find_inputs([str(path)]) for file in files for row in read_file(file)]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def good(found: list[Row | BadRow]) -> list[object]:
    return [row.values for row in found if isinstance(row, Row)]


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl.gz", gzip.compress), ("A.JSONL.XZ", lzma.compress)])
def test_garbage_behind_a_compressed_file_loses_no_row(tmp_path: Path, name: str, pack):
    found = rows(write(tmp_path / name, pack(CONTENT.rstrip()) + b"garbage"))
    kind = "gzip" if "gz" in name else "xz"
    assert good(found) == ROWS
    assert found[-1] == BadRow(3001, f"{CUT}what follows the {kind} data is not {kind}") and len(found) == 3001


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.xz", lzma.compress)])
def test_zeros_and_further_members_behind_a_compressed_file_are_fine(tmp_path: Path, name: str, pack):
    half = len(CONTENT) // 2
    found = rows(write(tmp_path / name, pack(CONTENT[:half]) + bytes(4) + pack(CONTENT[half:]) + bytes(512)))
    assert good(found) == ROWS and len(found) == 3000


def test_a_gzip_file_that_is_cut_keeps_every_row_before_the_cut(tmp_path: Path):
    packed = gzip.compress(CONTENT)
    whole = rows(write(tmp_path / "a.jsonl.gz", packed[:-8]))
    assert good(whole) == ROWS and whole[-1] == BadRow(3001, CUT + "the compressed data is cut short")
    *kept, last = rows(write(tmp_path / "b.jsonl.gz", packed[: len(packed) // 2]))
    assert good(kept) == ROWS[: len(kept)] and 1000 < len(kept) < 2000
    assert last == BadRow(len(kept) + 1, CUT + "the compressed data is cut short")


def test_a_gzip_file_with_a_wrong_checksum_keeps_its_rows_and_is_named(tmp_path: Path):
    packed = bytearray(gzip.compress(CONTENT))
    packed[-6] ^= 1
    found = rows(write(tmp_path / "a.jsonl.gz", bytes(packed)))
    assert good(found) == ROWS and found[-1] == BadRow(3001, CUT + "incorrect data check")


@given(st.binary(max_size=5000), st.data())
def test_a_truncated_gzip_stream_gives_all_that_zlib_can_decode(content: bytes, data: st.DataObject):
    packed = gzip.compress(content)
    cut = packed[: data.draw(st.integers(1, len(packed) - 1))]
    size = data.draw(st.integers(1, 64))
    given_bytes = bytearray()
    with pytest.raises(Damaged):
        for chunk in decompressed((cut[at : at + size] for at in range(0, len(cut), size)), ".gz"):
            given_bytes += chunk
    assert content.startswith(given_bytes)
    # What one call on the whole gives, where Python's own file loses the last buffer.
    assert bytes(given_bytes) == zlib.decompressobj(wbits=31).decompress(cut)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.sampled_from([".gz", ".xz"]), st.integers(1, 50))
def test_members_are_read_back_unchanged(contents: list[bytes], compression: str, size: int):
    pack = gzip.compress if compression == ".gz" else lzma.compress
    packed = b"".join(pack(content) for content in contents)
    chunks = (packed[at : at + size] for at in range(0, len(packed), size))
    assert b"".join(decompressed(chunks, compression)) == b"".join(contents)


@given(st.integers(200, 20_000), st.integers(0, 255))
def test_a_flipped_byte_of_a_gzip_file_never_loses_what_came_before(tmp_path_factory, at: int, value: int):
    packed = bytearray(gzip.compress(CONTENT))
    at = min(at, len(packed) - 9)
    packed[at] = value
    # Whatever comes before the flipped byte in the stream comes out unchanged.
    before = zlib.decompressobj(wbits=31).decompress(bytes(packed[:at]))
    content = bytearray()
    try:
        for chunk in decompressed([bytes(packed)], ".gz"):
            content += chunk
    except Damaged:
        pass
    assert content.startswith(before)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv.gz", "a.txt"])
def test_a_file_with_a_byte_order_mark_is_read_whole(tmp_path: Path, encoding: str, name: str):
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    text = {"a.jsonl": '{"id": "1", "text": "Größe 🐟"}\n', "a.csv": "id,text\n1,Größe 🐟\n"}
    content = text.get(name, "id\ttext\n1\tGröße 🐟\n" if "tsv" in name else "Größe 🐟")
    data = (mark + content).encode(encoding)
    found = rows(write(tmp_path / name, gzip.compress(data) if name.endswith(".gz") else data))
    line = 1 if name in ("a.jsonl", "a.txt") else 2
    values = {"path": "a.txt", "text": "Größe 🐟"} if name == "a.txt" else {"id": "1", "text": "Größe 🐟"}
    assert found == [Row(line, values)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf16_without_a_mark_is_refused_by_name_and_not_by_luck(tmp_path: Path, encoding: str):
    path = write(tmp_path / "a.jsonl", '{"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n'.encode(encoding))
    name = encoding[:6].upper()
    reason = f"the text looks like {name} without a byte order mark: save it as UTF-8"
    assert rows(path) == [BadRow(1, CUT + reason)]


def test_utf16_that_ends_within_a_character_keeps_its_rows(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", '{"id": 1}\n{"id": 2}\n'.encode("utf-16") + b"{")
    assert rows(path) == [Row(1, {"id": 1}), Row(2, {"id": 2}), BadRow(3, CUT + "not UTF-16-LE: truncated data")]


def test_a_lone_surrogate_in_utf16_spoils_one_row(tmp_path: Path):
    text = '\ufeff{"id": 1}\n{"id": "\ud800"}\n{"id": 3}\n'
    path = write(tmp_path / "a.jsonl", text.encode("utf-16-le", "surrogatepass"))
    found = rows(path)
    assert [type(row) for row in found] == [Row, BadRow, Row] and found[1] == BadRow(2, "not UTF-8: byte 0xed in column 9")


@given(
    st.text(max_size=40), st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]), st.integers(1, 9)
)
def test_any_text_in_any_encoding_is_read_in_blocks_of_any_size(text: str, encoding: str, size: int):
    data = ("\ufeff" + text).encode(encoding)
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    # UTF-16 whose first character is U+0000 begins as UTF-32 does.
    if encoding == "utf-16-le" and text.startswith("\0"):
        return
    assert b"".join(utf8(chunks)).decode() == text
