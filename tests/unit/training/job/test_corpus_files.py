"""The files of a corpus as units: which are divided, and what is read of damaged ones, of Parquet and of text at URIs."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.jobs.word2vec.corpus_files import find_corpus, read_corpus_unit
from shoal.workers.training.word2vec import CorpusSettings, CorpusUnit, TrainingError, UnreadRow, plan_units

SETTINGS = CorpusSettings(unit_bytes=1)


def units(*paths: object) -> list[CorpusUnit]:
    return plan_units(find_corpus([str(path) for path in paths], (), False).files, SETTINGS)


def read(*paths: object) -> tuple[str, list[UnreadRow]]:
    """All text of files that are not plain, and what could not be read."""
    parts = [part for unit in units(*paths) for part in read_corpus_unit(unit, SETTINGS)]
    text = b"".join(part for part in parts if isinstance(part, bytes)).decode(errors="replace")
    return text, [part for part in parts if isinstance(part, UnreadRow)]


def test_only_plain_utf8_is_divided_at_any_byte(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"ab\n")
    (tmp_path / "b.txt").write_bytes("ab\n".encode("utf-16"))
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"ab\n"))
    (tmp_path / "d.jsonl").write_bytes(b'{"text": "ab"}\n')
    found = units(tmp_path)
    assert [(Path(unit.path).name, unit.begin) for unit in found] == [
        *(("a", begin) for begin in range(3)),
        *((name, 0) for name in ("b.txt", "c.txt.gz", "d.jsonl")),
    ]
    # A URI is read as a whole.
    assert [unit.file.pieces for unit in units(f"file://{tmp_path}/a")] == [(3,)]
    assert read(f"file://{tmp_path}/a") == ("ab\n", [])


def test_groups_of_rows_are_read_alone_and_rows_keep_their_numbers(tmp_path: Path):
    path = tmp_path / "a.parquet"
    texts = pa.array([b"one", b"caf\xe9", b"three", b"f\xe9", b"five"], pa.binary()).view(pa.string())
    pyarrow.parquet.write_table(pa.table({"body": texts}), path, row_group_size=2)
    assert [(unit.begin, unit.end) for unit in units(path)] == [(0, 1), (1, 2), (2, 3)]
    reason = "column 'body' holds bytes that are not UTF-8: 0xe9 at"
    bad = [UnreadRow(str(path), 2, f"{reason} 3"), UnreadRow(str(path), 4, f"{reason} 1")]
    assert read(path) == ("one\nthree\nfive\n", bad)


def test_what_is_wrong_with_a_whole_file_is_said_once(tmp_path: Path):
    pyarrow.parquet.write_table(pa.table({"text": ["first"]}), tmp_path / "a.parquet")
    twice = pa.Table.from_arrays([pa.array(["a", "b"])] * 2, names=["text", "text"])
    pyarrow.parquet.write_table(twice, tmp_path / "b.parquet", row_group_size=1)
    assert len(units(tmp_path)) == 3
    text, unread = read(tmp_path)
    assert text == "first\n" and [(Path(row.path).name, row.line) for row in unread] == [("b.parquet", 1)]


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n')
    [unit] = units(path)
    path.unlink()
    with pytest.raises(TrainingError, match=r"^.*a\.jsonl: cannot be read: No such file or directory$"):
        list(read_corpus_unit(unit, SETTINGS))


WORDS = st.lists(st.text(st.sampled_from("abcß語\N{GRINNING FACE}"), min_size=1, max_size=8), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(
    words=WORDS, separator=st.sampled_from([" ", "\n"]), pack=st.sampled_from([gzip.compress, lzma.compress]), cut=st.data()
)
def test_of_a_file_cut_anywhere_the_first_words_are_read(
    tmp_path_factory: pytest.TempPathFactory,
    words: list[str],
    separator: str,
    pack: Callable[[bytes], bytes],
    cut: st.DataObject,
):
    packed = pack(separator.join(words).encode())
    path = tmp_path_factory.mktemp("cut") / ("a.txt.gz" if pack is gzip.compress else "a.txt.xz")
    path.write_bytes(packed[: cut.draw(st.integers(1, len(packed) - 1))])
    text, unread = read(path)
    found = text.split()
    assert found == words[: len(found)]
    [row] = unread
    assert row.reason == "the file is damaged or cut short from here on: the compressed data is cut short"
    assert row.line == text.count("\n") + 1 or separator == " "
    path.write_bytes(packed)
    assert read(path) == (separator.join(words), [])


# After the mark of UTF-16, a zero would make that of UTF-32.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(text=TEXTS, encoding=st.sampled_from(["utf-16", "utf-32"]))
def test_text_of_other_encodings_is_read_by_its_mark(tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str):
    path = tmp_path_factory.mktemp("marked") / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert read(path) == (text, [])
