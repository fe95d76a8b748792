import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.word_vectors.file_reading import WordVectors, read_word_vectors

# One word has a blank, one a no-break space, one is not UTF-8; one occurs twice.
WORDS = [b"the", b"tide", b". . .", "a\N{NO-BREAK SPACE}b".encode(), b"caf\xe9", b"the", b"#"]
VECTORS = np.arange(len(WORDS) * 3, dtype=np.float32).reshape(-1, 3) / 7 - 1
BINARY_WORDS = [word.replace(b" ", b"_") for word in WORDS]


def lines(words: list[bytes], end: bytes = b"\n") -> bytes:
    rows = (b" ".join([word, *(b"%.9g" % value for value in row)]) for word, row in zip(words, VECTORS, strict=True))
    return b"".join(row + end for row in rows)


def packed(words: list[bytes], end: bytes) -> bytes:
    return b"".join(word + b" " + row.tobytes() + end for word, row in zip(words, VECTORS, strict=True))


HEADER = b"7 3\n"
FORMS = {
    "word2vec text": (WORDS, HEADER + lines(WORDS)),
    "blanks at line ends": (WORDS, HEADER + lines(WORDS, b" \n")),
    "carriage returns": (WORDS, HEADER + lines(WORDS, b"\r\n")),
    "GloVe": (WORDS, lines(WORDS)),
    "GloVe without a last line feed": (WORDS, lines(WORDS)[:-1]),
    "word2vec binary": (BINARY_WORDS, HEADER + packed(BINARY_WORDS, b"\n")),
    "binary without line feeds": (BINARY_WORDS, HEADER + packed(BINARY_WORDS, b"")),
}


def read(folder: Path, content: bytes) -> WordVectors:
    file = folder / "vectors"
    file.write_bytes(content)
    return read_word_vectors(file, "w")


@pytest.mark.parametrize("form", FORMS)
def test_a_format_is_recognized_by_its_content(form: str, tmp_path: Path) -> None:
    words, content = FORMS[form]
    found = read(tmp_path, content)
    assert list(found.ids) == list(dict.fromkeys(word.decode("utf-8", "replace") for word in words))
    assert found.ids["the"] == 0
    assert (found.rows.count, found.rows.dimension) == (7, 3)
    taken = found.rows.take(np.array([4, 0, 6, 0], dtype=np.int32))
    assert taken.dtype == np.float32
    np.testing.assert_allclose(taken, VECTORS[[4, 0, 6, 0]], rtol=1e-6)


def test_many_lines_are_read_in_order(tmp_path: Path) -> None:
    found = read(tmp_path, b"10000 2\n" + b"".join(b"w%d %d -1.5e-2\n" % (number, number) for number in range(10_000)))
    rows = found.rows.take(np.array([0, 4095, 4096, 9999]))
    np.testing.assert_array_equal(rows, np.array([[n, -1.5e-2] for n in (0, 4095, 4096, 9999)], dtype=np.float32))
    assert found.ids["w4096"] == 4096


def test_lines_read_at_once_or_one_by_one_give_the_same(tmp_path: Path) -> None:
    """A word with a blank has its neighbours read line by line."""
    plain = b"".join(b"w%d %.7g -%d.5e-1\n" % (number, number / 7, number) for number in range(50))
    at_once, one_by_one = read(tmp_path, plain), read(tmp_path, plain + b"new york 1 2\n")
    rows = np.arange(50)
    np.testing.assert_array_equal(at_once.rows.take(rows), one_by_one.rows.take(rows))
    assert list(one_by_one.ids) == [*at_once.ids, "new york"]


def test_vectors_of_a_binary_file_stay_in_it(tmp_path: Path) -> None:
    """Replicas on one machine then share its pages; a change of the file shows, as it does not in a copy."""
    found = read(tmp_path, HEADER + packed(BINARY_WORDS, b""))
    with (tmp_path / "vectors").open("r+b") as file:
        file.seek(len(HEADER) + len(b"the "))
        file.write(struct.pack("<f", 42.0))
    assert found.rows.take(np.array([0]))[0, 0] == 42.0


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (b"2 3\na 1 2 3\nb 4 5 6\n\n \r\n", "skipped 2 blank lines; the first is line 4"),
        (b"2 3\na 1 2 3\n\nb 4 5 6", "skipped 1 blank lines; the first is line 3"),
        (b"3 3\n\na 1 2 3\n 7 8 9\nb 4 5 6\n", "skipped 1 blank lines and 1 rows without a word; the first is line 2"),
        (b"2 3\na 1 2 3\n 7 8 9\nb 4 5 6\n", "skipped 1 rows without a word; the first is line 3"),
        (b"\xef\xbb\xbf2 3\na 1 2 3\nb 4 5 6\n", ""),
        (b"\xef\xbb\xbfa 1 2 3\r\nb 4 5 6\r\n\r\n", "skipped 1 blank lines; the first is line 3"),
        (b"2 3\na " + struct.pack("<3f", 1, 2, 3) + b"\nb " + struct.pack("<3f", 4, 5, 6) + b"\n\n", ""),
        (
            b"\xef\xbb\xbf3 3\n"
            + b"".join(
                word + struct.pack("<3f", *row) for word, row in ((b"a ", (1, 2, 3)), (b" ", (7, 8, 9)), (b"b ", (4, 5, 6)))
            ),
            "skipped 1 rows without a word; the first is word 2",
        ),
    ],
)
def test_blank_lines_rows_without_a_word_and_a_byte_order_mark_do_no_harm(
    content: bytes, warning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = read(tmp_path, content)
    assert list(found.ids) == ["a", "b"]
    assert found.rows.take(np.array(list(found.ids.values()))).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert [record.message for record in caplog.records] == ([f"model 'w': {warning}"] if warning else [])


ROWS = st.tuples(
    st.text("ab.\u00e9\u0939\u093f#", max_size=3),
    st.lists(st.floats(-9, 9, width=32), min_size=2, max_size=2),
    st.sampled_from(["\n", "\r\n", " \n"]),
)


# gensim leaves files without a header open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=8), st.booleans(), st.sampled_from(["", "\n", "\n\r\n"]))
def test_a_text_file_is_read_as_gensim_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, list[float], str]], has_header: bool, end: str
) -> None:
    from gensim.models import KeyedVectors

    lines = [f"{word} {first!r} {second!r}{line_end}" for word, (first, second), line_end in rows]
    file = tmp_path_factory.mktemp("vectors") / "words.vec"
    # Without a header gensim takes each blank line for a row.
    content = f"{len(rows)} 2\n{''.join(lines)}{end}" if has_header else "".join(lines)
    file.write_bytes(content.encode())
    theirs = KeyedVectors.load_word2vec_format(str(file), no_header=not has_header)
    words = [word for word in theirs.index_to_key if word]
    if not words:
        with pytest.raises(ModelError, match="the table is empty"):
            read_word_vectors(file, "w")
        return
    ours = read_word_vectors(file, "w")
    assert list(ours.ids) == words
    np.testing.assert_array_equal(ours.rows.take(np.array(list(ours.ids.values()))), theirs.vectors_for_all(words).vectors)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the table is empty"),
        (b"\xef\xbb\xbf\n\r\n", "the table is empty"),
        (b"\ntwo words\n", "not word vectors: line 2 is neither a word count and dimension nor a word and its numbers"),
        (b"two words\n", "not word vectors: line 1 is neither a word count and dimension nor a word and its numbers"),
        (b"2 3\na 1 2 3\nb 1 2\n", "line 3 has 2 numbers, expected 3"),
        (b"2 3\na 1 2\n", "line 2 has 2 numbers, expected 3"),
        (b"2 3\na 1 2 3\nb 1 x 3\n", "line 3 has 'x', expected a number"),
        (b"2 3\na 1 2 3\nb 1 2 nan\n", "line 3 has 'nan', expected a number"),
        (b"2 3\na 1 2 3\nb 1 2 1e39\n", "line 3 has '1e39', expected a number"),
        (b"3 3\na 1 2 3\nb 1 2 3\n", "line 1 states 3 words, the file has 2"),
        (b"1 3\na 1 2 3\nb 1 2 3\n", "line 1 states 1 words, the file has 2"),
        (b"a 1 2 3\nb 1 2\n", "line 2 has 2 numbers, expected 3"),
        (b"0 3\n", "the table is empty: line 1 states 0 words"),
        (b"2 3\n\n", "the table is empty: line 1 states 2 words, and no line follows"),
        (b"1 3\n 1 2 3\n", "the table is empty: no row has a word"),
        (b"1 3\n" + struct.pack("<x3f", 1, 2, 3).replace(b"\0", b" ", 1), "the table is empty: no row has a word"),
        (b"\n3 3\na 1 2 3\nb 1 2 3\n", "line 2 states 3 words, the file has 2"),
        ("2 3\na 1 2 3\n".encode("utf-16"), "the file is UTF-16 or UTF-32; convert it to UTF-8 first"),
        (b"5 70000\n", "line 1 states 5 words of dimension 70000, allowed are 1 to 65536 dimensions"),
        (HEADER + packed(BINARY_WORDS, b"")[:-1], "word 7 of 7 (dimension 3) is missing or cut short"),
        (b"8 3\n" + packed(BINARY_WORDS, b"\n"), "word 8 of 8 (dimension 3) is missing or cut short"),
        (
            b"999999999999 3\n" + packed(BINARY_WORDS, b""),
            "word 8 of 999999999999 (dimension 3) is missing or cut short",
        ),
        (b"6 3\n" + packed(BINARY_WORDS, b""), "line 1 states 6 words of dimension 3, 14 more bytes follow them"),
        (
            pickle.dumps({"vectors": [1.0]}),
            "this is a Python pickle, as written by gensim's save(), and loading a pickle can run any code; "
            "write the vectors with gensim's save_word2vec_format() instead",
        ),
        (b"\x1f\x8b\x08", "the file is compressed; decompress it first"),
        (
            struct.pack("<ii", 793712314, 12),
            "this is a fastText model with its training state; use its .vec file",
        ),
    ],
)
def test_a_malformed_file_is_reported_by_line_or_word(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read(tmp_path, content)
    assert str(caught.value) == f"model 'w': {reason}"


def write_array(folder: Path, array: Any, vocabulary: bytes | None, name: str = "w.npy") -> Path:
    with (folder / name).open("wb") as file:
        np.save(file, array)
    if vocabulary is not None:
        (folder / "w.vocab").write_bytes(vocabulary)
    return folder / name


ARRAY = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_an_array_has_its_words_in_another_file(kind: str, tmp_path: Path) -> None:
    found = read_word_vectors(write_array(tmp_path, ARRAY.astype(kind), b"\xef\xbb\xbfthe 9\nnew york 3\r\n7 1\n\n"), "w")
    assert found.ids == {"the": 0, "new york": 1, "7": 2}
    assert found.counts is not None and found.counts.tolist() == [9, 3, 1]
    taken = found.rows.take(np.array([2, 0]))
    assert (taken.dtype, taken.tolist()) == (np.float32, [[4, 5], [0, 1]])
    assert (found.rows.all().dtype, found.rows.all().tolist()) == (np.float32, ARRAY.tolist())


def test_an_array_s_words_may_have_no_counts(tmp_path: Path) -> None:
    found = read_word_vectors(write_array(tmp_path, ARRAY, "the\ntide 7x\ncaf\xe9".encode()), "w")
    assert (list(found.ids), found.counts) == (["the", "tide 7x", "caf\xe9"], None)


def test_an_array_stays_in_its_file(tmp_path: Path) -> None:
    found = read_word_vectors(write_array(tmp_path, ARRAY, b"a\nb\nc\n"), "w")
    with (tmp_path / "w.npy").open("r+b") as file:
        file.seek(-4, 2)
        file.write(struct.pack("<f", 42.0))
    assert found.rows.take(np.array([2]))[0, 1] == found.rows.all()[2, 1] == 42.0


@pytest.mark.parametrize(
    ("array", "vocabulary", "reason"),
    [
        (ARRAY, None, "there is no w.vocab with the words of the array in the same folder"),
        (ARRAY, b"a\nb\n", "the array has 3 rows, w.vocab has 2 words"),
        (ARRAY, b"a\nb\na\n", "line 3 of w.vocab repeats the word 'a'"),
        (ARRAY, b"a\n\nb\n", "line 2 of w.vocab is empty, expected a word"),
        (ARRAY, b"a 1\nb 2\nc\n", "line 3 of w.vocab is 'c', expected a word and its count"),
        (ARRAY, b"a 1\nb 2\nc -3\n", "line 3 of w.vocab is 'c -3', expected a word and its count"),
        (ARRAY, b"a 1\nb 2\n 3\n", "line 3 of w.vocab is ' 3', expected a word and its count"),
        (ARRAY, b"a\nb\nc\xff\n", "w.vocab is not UTF-8 at byte 5"),
        (ARRAY[0], b"a\nb\n", "the array has shape (2,) and type float32, expected floats of shape (words, dim)"),
        (ARRAY.astype(int), b"a\n", "the array has shape (3, 2) and type int64, expected floats of shape (words, dim)"),
        (np.array([["a", None]], dtype=object), b"a\n", "the array cannot be read: "),
    ],
)
def test_a_malformed_array_or_vocabulary_is_reported(
    array: Any, vocabulary: bytes | None, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        read_word_vectors(write_array(tmp_path, array, vocabulary), "w")
    assert str(caught.value).startswith(f"model 'w': {reason}")


def test_a_truncated_array_is_reported(tmp_path: Path) -> None:
    file = write_array(tmp_path, ARRAY, b"a\nb\nc\n")
    for kept in (-1, 9):
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(ModelError, match="model 'w': the array cannot be read: "):
            read_word_vectors(file, "w")
