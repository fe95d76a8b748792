from __future__ import annotations

import dataclasses
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.training.word2vec.corpus import counting, text_blocks
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.counting import read_words, scan_unit
from shoal.workers.training.word2vec.corpus.units import CorpusUnit, plan_units, utf8_file
from shoal.workers.training.word2vec.corpus.unread_rows import UnreadRow, unread_rows
from shoal.workers.training.word2vec.errors import TrainingError
from support.training.encoded_text import scan, sentences_of, units_of, words_of_all, write_corpus

CHARACTERS = st.sampled_from(
    [*"abcß語\N{GRINNING FACE}", " ", " ", "\n", "\t", "\r", "\x1c", "\x85", "\N{IDEOGRAPHIC SPACE}", "\ufeff"]
)
TEXTS = st.text(CHARACTERS, max_size=400)
RUNS = st.builds(
    bytes.__add__, st.binary(max_size=20) | st.text(CHARACTERS, max_size=6).map(str.encode), st.sampled_from([b" ", b"\n"])
)


@settings(max_examples=80, deadline=None)
@given(text=TEXTS, unit_bytes=st.integers(1, 60), longest=st.integers(1, 30))
def test_parts_of_any_size_together_have_the_words_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, text: str, unit_bytes: int, longest: int
) -> None:
    path = write_corpus(tmp_path_factory.mktemp("corpus"), text + " end")
    parts = scan(path, CorpusSettings(unit_bytes=unit_bytes, max_sentence=longest))
    # The words that Python splits, except a byte order mark at the beginning of a file.
    expected = (text.removeprefix("\ufeff") + " end").split()
    assert words_of_all(parts) == expected
    assert sum(part.words for part in parts) == len(expected)
    for part in parts:
        found = sentences_of(part)
        assert all(1 <= len(sentence) <= longest for sentence in found)
        assert len(found) == part.sentences


@settings(max_examples=80, deadline=None)
@given(runs=st.lists(RUNS), unit_bytes=st.integers(1, 60), chunk=st.integers(50, 120))
def test_parts_of_any_bytes_give_the_words_that_python_gives(
    tmp_path_factory: pytest.TempPathFactory, runs: list[bytes], unit_bytes: int, chunk: int
) -> None:
    content = b"." + b"".join(runs)
    path = write_corpus(tmp_path_factory.mktemp("corpus"), content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_blocks, "CHUNK_BYTES", chunk)
        patch.setattr(text_blocks, "LINE_BYTES", chunk)
        parts = scan(path, CorpusSettings(unit_bytes=unit_bytes))
    decoded = content.decode(errors="replace")
    assert words_of_all(parts) == decoded.split()
    genuine = content.count("\N{REPLACEMENT CHARACTER}".encode())
    assert sum(part.replaced for part in parts) == decoded.count("\N{REPLACEMENT CHARACTER}") - genuine


@pytest.mark.parametrize("unit_bytes", [2, 7, 1000])
def test_text_without_white_space_is_cut_between_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit_bytes: int
) -> None:
    monkeypatch.setattr(text_blocks, "WORD_REACH", 16)
    monkeypatch.setattr(text_blocks, "LINE_REACH", 16)
    monkeypatch.setattr(text_blocks, "CHUNK_BYTES", 5)
    monkeypatch.setattr(text_blocks, "LINE_BYTES", 40)
    text = "語aß\N{GRINNING FACE}" * 40
    parts = scan(write_corpus(tmp_path, text), CorpusSettings(unit_bytes=unit_bytes))
    words = words_of_all(parts)
    assert "".join(words) == text
    assert len(words) > 5
    assert not any(part.replaced for part in parts)


def test_each_line_is_a_sentence_and_a_long_one_is_several(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "a b\n\n  \nc d e f g h\r\ni j k\nlast")
    (part,) = scan(path, CorpusSettings(max_sentence=3))
    assert sentences_of(part) == [["a", "b"], ["c", "d", "e"], ["f", "g", "h"], ["i", "j", "k"], ["last"]]
    assert (part.words, part.sentences) == (12, 5)


def test_a_long_line_is_cut_in_the_same_places_for_any_block_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_corpus(tmp_path, " ".join(f"w{number}" for number in range(5000)) + "\nx y\n")
    (whole,) = scan(path, CorpusSettings(max_sentence=7))
    expected = sentences_of(whole)
    for chunk in (64, 101):
        monkeypatch.setattr(text_blocks, "CHUNK_BYTES", chunk)
        monkeypatch.setattr(text_blocks, "LINE_BYTES", chunk)
        (part,) = scan(path, CorpusSettings(max_sentence=7))
        assert sentences_of(part) == expected


def test_counts_are_those_of_a_plain_count(tmp_path: Path) -> None:
    words = [f"w{number * number % 37}" for number in range(3000)]
    (part,) = scan(write_corpus(tmp_path, " ".join(words)), CorpusSettings())
    table = read_words(part.sections[0])
    assert dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True)) == Counter(words)


def test_scanning_again_writes_the_same_files(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "b a b c\n" * 50)
    (part,) = scan(path, CorpusSettings())
    section = part.sections[0]
    before = section.ids.read_bytes(), section.distinct_words.read_bytes()
    (again,) = scan(path, CorpusSettings())
    assert (again, section.ids.read_bytes(), section.distinct_words.read_bytes()) == (part, *before)


def test_many_distinct_words_begin_a_new_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_DISTINCT", 100)
    monkeypatch.setattr(text_blocks, "CHUNK_BYTES", 256)
    monkeypatch.setattr(text_blocks, "LINE_BYTES", 256)
    words = [f"w{number}" for number in range(1000)] + ["w1", "w2"]
    (part,) = scan(write_corpus(tmp_path, " ".join(words)), CorpusSettings())
    assert len(part.sections) > 3
    assert max(section.distinct for section in part.sections) < 200
    assert words_of_all([part]) == words
    assert part.words == 1002


def test_a_word_of_enormous_length_is_cut_off(tmp_path: Path) -> None:
    (part,) = scan(write_corpus(tmp_path, "a " + "ö" * 5000 + " b " + "ö" * 6000), CorpusSettings())
    assert words_of_all([part]) == ["a", "ö" * 128, "b", "ö" * 128]
    assert part.sections[0].distinct == 3


@pytest.mark.parametrize("tokenizer", ["whitespace", "unicode"])
def test_a_word_in_several_unicode_forms_is_one_word(tmp_path: Path, tokenizer: str) -> None:
    text = "Vi\u1ec7t Vie\u0323\u0302t\nVi\u00ea\u0323t \u1e96 H\u0331"
    (part,) = scan(write_corpus(tmp_path, text), CorpusSettings(tokenizer=tokenizer, lowercase=True))
    assert words_of_all([part]) == ["vi\u1ec7t"] * 3 + ["\u1e96"] * 2
    assert part.replaced == 0


def test_a_file_with_pieces_is_read_by_a_reader_and_what_it_cannot_read_is_kept(tmp_path: Path) -> None:
    write_corpus(tmp_path, "x" * 30)
    whole = utf8_file(tmp_path / "corpus.txt")
    units = plan_units([dataclasses.replace(whole, pieces=(10, 10, 10))], CorpusSettings(unit_bytes=20))

    def reader(unit: CorpusUnit, corpus_settings: CorpusSettings) -> Iterator[bytes | UnreadRow]:
        for piece in range(unit.begin, unit.end):
            yield f"piece {piece}".encode()
            yield UnreadRow(unit.path, piece, "bad")
            yield b", split\n"

    folder = tmp_path / "encoded"
    folder.mkdir()
    parts = [scan_unit(unit, CorpusSettings(), folder, reader) for unit in units]
    assert [sentences_of(part) for part in parts] == [
        [["piece", "0,", "split"], ["piece", "1,", "split"]],
        [["piece", "2,", "split"]],
    ]
    assert list(unread_rows(folder)) == [UnreadRow(whole.path, piece, "bad") for piece in range(3)]
    assert list(unread_rows(tmp_path)) == []
    with pytest.raises(TrainingError, match=r"corpus\.txt: has no reader"):
        scan_unit(units[0], CorpusSettings(), folder)


def test_a_file_that_changed_since_it_was_planned_is_refused(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "some words")
    (unit,) = units_of(path, CorpusSettings())
    path.write_text("some other words")
    with pytest.raises(TrainingError, match=r"corpus\.txt: changed during the training"):
        scan_unit(unit, CorpusSettings(), tmp_path)
    path.unlink()
    with pytest.raises(TrainingError, match=r"corpus\.txt: cannot be read: .*No such file"):
        scan_unit(unit, CorpusSettings(), tmp_path)


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (unit,) = units_of(write_corpus(tmp_path, "some words\n"), CorpusSettings())
    with pytest.raises(TrainingError, match=r"gone/unit-000000-000\.ids: cannot be written: No such file or directory"):
        scan_unit(unit, CorpusSettings(), tmp_path / "gone")


def test_a_full_disk_is_reported_and_leaves_no_partial_file(tmp_path: Path) -> None:
    # In one case the ids do not fit, in the other the words.
    long = write_corpus(tmp_path, "some words\n" * 50_000, "long")
    wide = write_corpus(tmp_path, " ".join(f"{number}{'x' * 60}" for number in range(3000)), "wide")
    folder = tmp_path / "encoded"
    folder.mkdir()
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings\n"
        "from shoal.workers.training.word2vec.corpus.units import plan_units, utf8_file\n"
        "from shoal.workers.training.word2vec.corpus.counting import scan_unit\n"
        "from shoal.workers.training.word2vec.errors import TrainingError\n"
        # A size limit fails like a full disk: in the middle of writing.
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "for path in sys.argv[2:]:\n"
        "    try: scan_unit(plan_units([utf8_file(path)], CorpusSettings())[0], CorpusSettings(), Path(sys.argv[1]))\n"
        "    except TrainingError as error: print(error)"
    )
    arguments = [sys.executable, "-c", script, folder, long, wide]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
    failed = f"{folder}/unit-000000-000"
    assert ended.stdout.splitlines() == [f"{failed}{kind}: cannot be written: File too large" for kind in (".ids", ".words")]
    assert [path.name for path in folder.iterdir()] == ["unit-000000-000.ids"]


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_blocks, "CHUNK_BYTES", 10_000)
    monkeypatch.setattr(text_blocks, "LINE_BYTES", 40_000)
    monkeypatch.setattr(counting, "_BLOCK_IDS", 10_000)
    peaks = []
    for repeats in (50_000, 200_000):
        path = write_corpus(tmp_path, b"ab cd efg " * repeats)
        (unit,) = units_of(path, CorpusSettings(unit_bytes=1 << 40))
        tracemalloc.start()
        scan_unit(unit, CorpusSettings(), tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1
