"""Tables are read back as they were written, here and in gensim."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.word_vectors.file_writing import ROWS_AT_ONCE, write_counts
from shoal.workers.encoding.word_vectors.keyed_vectors import from_keyed_vectors, to_keyed_vectors
from shoal.workers.encoding.word_vectors.saving import TableFormat, check_output, save_table
from shoal.workers.encoding.word_vectors.word_folder import WordFolderConfig
from shoal.workers.encoding.word_vectors.word_table import WordTable, read_word_table
from shoal.workers.encoding.word_vectors.word_vector_error import WordVectorError
from support.training.trained_tables import WORDS, trained_table

NAMES = {TableFormat.FOLDER: "model", TableFormat.TEXT: "w.txt", TableFormat.BINARY: "w.bin", TableFormat.NPY: "w.npy"}


def same(found: WordTable, expected: WordTable, counts: bool) -> None:
    assert found.words == expected.words
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.vectors.dtype == np.float32
    if counts:
        assert found.counts is not None and expected.counts is not None
        assert found.counts.tolist() == expected.counts.tolist()
    else:
        assert found.counts is None


@pytest.mark.parametrize("form", TableFormat)
def test_a_table_comes_back_to_the_last_bit(form: TableFormat, tmp_path: Path) -> None:
    file = tmp_path / "not" / "there" / NAMES[form]
    for seed in (1, 2):
        table = trained_table(seed)
        save_table(file, table, form, WordFolderConfig())
        same(read_word_table(file), table, counts=form in (TableFormat.FOLDER, TableFormat.NPY))
    assert {path.name for path in file.parent.iterdir()} <= {file.name, "w.vocab"}


@pytest.mark.parametrize("form", TableFormat)
def test_rows_beyond_one_block_are_in_order(form: TableFormat, tmp_path: Path) -> None:
    count = 2 * ROWS_AT_ONCE + 3
    vectors = np.arange(1, 2 * count + 1, dtype=np.float32).reshape(count, 2)
    table = WordTable(tuple(f"w{number}" for number in range(count)), vectors, None)
    save_table(tmp_path / NAMES[form], table, form, WordFolderConfig())
    same(read_word_table(tmp_path / NAMES[form]), table, counts=False)


def test_text_and_binary_are_written_as_by_the_original_program(tmp_path: Path) -> None:
    table = WordTable(("a", "b"), np.array([[1, -0.5], [0.1, 1e-9]], dtype=np.float32), np.array([3, 1]))
    save_table(tmp_path / "w.txt", table, TableFormat.TEXT, WordFolderConfig())
    assert (tmp_path / "w.txt").read_bytes() == b"2 2\na 1 -0.5\nb 0.1 1e-9\n"
    save_table(tmp_path / "w.bin", table, TableFormat.BINARY, WordFolderConfig())
    rows = [row.tobytes() for row in table.vectors]
    assert (tmp_path / "w.bin").read_bytes() == b"2 2\na " + rows[0] + b"\nb " + rows[1] + b"\n"
    write_counts(tmp_path / "w.counts", table)
    assert (tmp_path / "w.counts").read_text() == "a 3\nb 1\n"


def test_an_array_can_be_mapped_by_numpy_alone(tmp_path: Path) -> None:
    table = trained_table()
    save_table(tmp_path / "w.npy", table, TableFormat.NPY, WordFolderConfig())
    mapped = np.load(tmp_path / "w.npy", mmap_mode="r")
    np.testing.assert_array_equal(mapped, table.vectors)
    assert (tmp_path / "w.vocab").read_text().split("\n")[0] == f"the {len(WORDS) ** 3}"


def gensim_vectors() -> Any:
    return pytest.importorskip("gensim.models").KeyedVectors


def apply(keyed: Any, table: WordTable) -> None:
    """The nearest words and their similarities are those that numpy finds."""
    unit = table.vectors / np.linalg.norm(table.vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -2)
    for number, word in enumerate(table.words):
        nearest = np.argsort(-likeness[number])[:10]
        found = keyed.most_similar(word, topn=10)
        assert [other for other, _ in found] == [table.words[other] for other in nearest]
        np.testing.assert_allclose([score for _, score in found], likeness[number][nearest], atol=1e-5)


BIG = trained_table(3, 24, tuple(f"{word}{number}" for word in ("sea", "\xe9t\xe9", "u.s") for number in range(40)))


@pytest.mark.parametrize("form", [TableFormat.TEXT, TableFormat.BINARY])
def test_gensim_loads_saved_tables_with_the_same_nearest_words(form: TableFormat, tmp_path: Path) -> None:
    file = tmp_path / NAMES[form]
    save_table(file, BIG, form, WordFolderConfig())
    write_counts(tmp_path / "counts", BIG)
    keyed = gensim_vectors().load_word2vec_format(
        str(file), fvocab=str(tmp_path / "counts"), binary=form is TableFormat.BINARY
    )
    same(from_keyed_vectors(keyed), BIG, counts=True)
    apply(keyed, read_word_table(file))


@pytest.mark.parametrize("binary", [False, True])
def test_tables_saved_by_gensim_load_with_the_same_nearest_words(binary: bool, tmp_path: Path) -> None:
    gensim_vectors()
    keyed = to_keyed_vectors(BIG)
    keyed.save_word2vec_format(str(tmp_path / "w"), binary=binary)
    table = read_word_table(tmp_path / "w")
    same(table, BIG, counts=False)
    apply(keyed, table)


def test_keyed_vectors_hold_counts_and_come_back(tmp_path: Path) -> None:
    gensim_vectors()
    keyed = to_keyed_vectors(BIG)
    assert keyed.get_vecattr("sea3", "count") == 117**3
    same(from_keyed_vectors(keyed), BIG, counts=True)
    apply(keyed, from_keyed_vectors(keyed))
    keyed.vectors[0] = 0
    assert BIG.vectors[0].any()
    without = dataclasses.replace(BIG, counts=None)
    same(from_keyed_vectors(to_keyed_vectors(without)), without, counts=False)
    with pytest.raises(WordVectorError, match="keyed vectors: is a list, expected KeyedVectors of gensim 4"):
        from_keyed_vectors([1, 2])


def test_gensims_own_files_are_refused_with_a_suggestion(tmp_path: Path) -> None:
    gensim_vectors()
    to_keyed_vectors(BIG).save(str(tmp_path / "w.kv"))
    with pytest.raises(
        ModelError, match=r"a Python pickle.* write the vectors with gensim's save_word2vec_format\(\) instead"
    ):
        read_word_table(tmp_path / "w.kv")


@pytest.mark.parametrize(
    ("form", "word", "reason"),
    [
        (TableFormat.TEXT, "new york", "w.txt: the word 'new york' is empty or contains a space or line end"),
        (TableFormat.BINARY, "a\nb", "w.bin: the word 'a\\nb' is empty or contains a space or line end"),
        (TableFormat.NPY, "", "w.npy: the word '' is empty or contains a space or line end"),
        (
            TableFormat.FOLDER,
            "a\rb",
            "model: the word 'a\\rb' is empty or contains a space or line end",
        ),
        (TableFormat.TEXT, "\ud83d", "w.txt: the word '\\ud83d' is not valid Unicode"),
    ],
)
def test_a_word_that_a_form_cannot_express_is_named_before_anything_is_written(
    form: TableFormat, word: str, reason: str, tmp_path: Path
) -> None:
    table = trained_table(words=("the", word))
    with pytest.raises(WordVectorError) as caught:
        save_table(tmp_path / NAMES[form], table, form, WordFolderConfig())
    assert str(caught.value).endswith(reason)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", TableFormat)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"words": WORDS[:-1]}, "9 words have vectors of shape (10, 5), expected (words, dim)"),
        ({"words": (), "vectors": np.zeros((0, 5))}, "0 words have vectors of shape (0, 5), expected (words, dim)"),
        ({"counts": np.ones(9)}, "10 words have counts of shape (9,), expected one per word"),
        ({"words": ("tide",) + WORDS[1:]}, "the word 'tide' is repeated"),
        (
            {"vectors": np.array([[1], [1e39], [np.nan], *[[1]] * 7])},
            "the vector of 'of' is not finite in float32",
        ),
    ],
)
def test_an_invalid_table_is_refused_before_anything_is_written(
    form: TableFormat, change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    table = dataclasses.replace(trained_table(), **change)
    with pytest.raises(WordVectorError) as caught:
        save_table(tmp_path / NAMES[form], table, form, WordFolderConfig())
    assert str(caught.value) == f"{tmp_path / NAMES[form]}: {reason}"
    assert list(tmp_path.iterdir()) == []


def test_a_word_with_a_blank_fits_where_lines_are_read_from_their_end(tmp_path: Path) -> None:
    table = trained_table(words=("the", "new york", "7 8"))
    for form in (TableFormat.FOLDER, TableFormat.NPY):
        save_table(tmp_path / NAMES[form], table, form, WordFolderConfig())
        same(read_word_table(tmp_path / NAMES[form]), table, counts=True)


def test_outputs_that_cannot_be_written_are_reported_before_a_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for target, form, reason in [
        (tmp_path, TableFormat.TEXT, "is a folder, expected a file"),
        (tmp_path / "w.bin", TableFormat.NPY, "the name of an array must end in .npy"),
        (tmp_path / "file", TableFormat.FOLDER, "is a file, expected a folder"),
        (tmp_path, TableFormat.FOLDER, "not replaced, it has files that are not trained word vectors"),
    ]:
        for attempt in (lambda p, f: check_output(p, f), lambda p, f: save_table(p, trained_table(), f, WordFolderConfig())):
            with pytest.raises(WordVectorError) as caught:
                attempt(target, form)
            assert str(caught.value) == f"{target}: {reason}"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
