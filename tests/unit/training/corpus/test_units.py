from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.units import FileKind, corpus_digest, plan_units
from shoal.workers.training.word2vec.errors import TrainingError


def write(path: Path, text: str = "some words\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(folder: Path, *given: str) -> list[str]:
    return [
        os.path.relpath(unit.path, folder) for unit in plan_units([str(folder / name) for name in given], CorpusSettings())
    ]


def test_a_plain_file_is_split_by_bytes_and_the_parts_are_numbered(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.txt", "x" * 25), write(tmp_path / "b.txt", "y" * 10)
    units = plan_units([str(second), str(first)], CorpusSettings(unit_bytes=10))
    assert [(unit.index, Path(unit.path).name, unit.begin, unit.end) for unit in units] == [
        (0, "b.txt", 0, 10),
        (1, "a.txt", 0, 10),
        (2, "a.txt", 10, 20),
        (3, "a.txt", 20, 25),
    ]
    assert {unit.size for unit in units[1:]} == {25}


def test_text_of_a_folder_is_ordered_by_path_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b/wiki_00", "b/two.txt", "a.text", "c.txt.gz", "d.xz", ".git/x.txt", "_SUCCESS", "b/_log/y.txt"):
        write(tmp_path / name)
    for name in ("readme.md", "table.csv", "rows.jsonl", "rows.jsonl.gz", "model.bin"):
        write(tmp_path / name)
    assert names(tmp_path, ".") == ["a.text", "b/two.txt", "b/wiki_00", "c.txt.gz", "d.xz"]


def test_patterns_stay_within_a_folder_unless_they_say_otherwise(tmp_path: Path) -> None:
    for name in ("a1.txt", "a2.md", "sub/a3.txt", "sub/deep/a4.txt"):
        write(tmp_path / name)
    assert names(tmp_path, "a*") == ["a1.txt", "a2.md"]
    assert names(tmp_path, "**/a[34].txt") == ["sub/a3.txt", "sub/deep/a4.txt"]


def test_kinds_are_chosen_by_file_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "d.parquet")
    for name in ("a", "b.GZ", "c.xz"):
        write(tmp_path / name)
    units = plan_units([str(tmp_path / name) for name in ("a", "b.GZ", "c.xz", "d.parquet")], CorpusSettings(unit_bytes=1))
    assert [unit.kind for unit in units[-3:]] == [FileKind.GZIP, FileKind.XZ, FileKind.PARQUET]
    assert {unit.kind for unit in units[:-3]} == {FileKind.PLAIN}


def test_groups_of_rows_are_put_together_up_to_the_size_of_a_part(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.table({"text": [f"{number:01000d}" for number in range(100)]})
    pq.write_table(table, path, row_group_size=10, compression="none", use_dictionary=False)
    size = pq.read_metadata(path).row_group(0).total_byte_size
    bounds = [(unit.begin, unit.end) for unit in plan_units([str(path)], CorpusSettings(unit_bytes=3 * size + size // 2))]
    assert bounds == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert len(plan_units([str(path)], CorpusSettings(unit_bytes=1))) == 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.txt", "missing.txt: no such file or folder"),
        ("nothing*.txt", r"nothing\*.txt: no file matches"),
        ("void", "void: no text or Parquet files in this folder"),
        ("rows.jsonl", "rows.jsonl: not a text file .*, nor Parquet"),
        ("rows.csv.gz", "rows.csv.gz: not a text file .*, nor Parquet"),
        ("bad.parquet", "bad.parquet: cannot be read: .*Parquet"),
        ("/dev/null", "/dev/null: neither a file nor a folder"),
    ],
)
def test_an_invalid_corpus_is_refused_by_name(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "void").mkdir()
    for name in ("rows.jsonl", "rows.csv.gz", "bad.parquet"):
        write(tmp_path / name)
    with pytest.raises(TrainingError, match=message) as raised:
        plan_units([str(tmp_path / given)], CorpusSettings())
    assert "\n" not in str(raised.value)


def test_a_missing_tokenizer_is_reported_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="tokenizer no_such:f: cannot be imported"):
        plan_units([str(write(tmp_path / "a.txt"))], CorpusSettings(tokenizer="no_such:f"))


def test_a_missing_column_is_reported_before_anything_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(TrainingError, match=r"a\.parquet: no column 'title'; the columns are id, body"):
        plan_units([str(tmp_path)], CorpusSettings(text_field="title"))


def test_a_file_given_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt")
    with pytest.raises(TrainingError, match=r"a\.txt: given twice"):
        plan_units([str(path), str(tmp_path)], CorpusSettings())


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "")
    with pytest.raises(TrainingError, match=r"the corpus is empty: .*a\.txt"):
        plan_units([str(path)], CorpusSettings())
    with pytest.raises(TrainingError, match="the corpus is empty: no files given"):
        plan_units([], CorpusSettings())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unit_bytes": 0}, "unit_bytes is 0, must be between 1 and"),
        ({"max_sentence": 0}, "max_sentence is 0, must be between 1 and 1000000$"),
        ({"phrases": 6}, "phrases is 6, must be between 0 and 5"),
        ({"phrase_threshold": float("nan")}, "phrase_threshold is nan, must be between 0 and"),
        ({"phrase_discount": 0}, "phrase_discount is 0, must be between 1 and"),
        ({"tokenizer": "spacy"}, "tokenizer is 'spacy', must be whitespace, unicode or package.module:function"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        CorpusSettings.from_json(values)


def test_settings_survive_json_and_unknown_ones_are_refused() -> None:
    settings = CorpusSettings(tokenizer="unicode", lowercase=True, text_field="body", unit_bytes=7, phrases=2)
    assert CorpusSettings.from_json(settings.to_json()) == settings
    with pytest.raises(TrainingError, match=r"corpus settings: .*stemming"):
        CorpusSettings.from_json({"stemming": True})


def test_the_digest_depends_on_files_settings_and_vocabulary(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt")
    corpus_settings = CorpusSettings()

    def digest(corpus_settings: CorpusSettings = corpus_settings, **vocabulary: int) -> str:
        return corpus_digest(plan_units([str(path)], corpus_settings), corpus_settings, vocabulary)

    first = digest(min_count=5)
    assert digest(min_count=5) == first
    others = {digest(min_count=4), digest(CorpusSettings(lowercase=True), min_count=5)}
    os.utime(path, ns=(1, 1))
    others.add(digest(min_count=5))
    write(path, "some other words\n")
    os.utime(path, ns=(1, 1))
    others.add(digest(min_count=5))
    assert len(others | {first}) == 5
