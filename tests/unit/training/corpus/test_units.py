from __future__ import annotations

import os
from pathlib import Path

import pytest

from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.units import CorpusFile, corpus_digest, plan_units, utf8_file
from shoal.workers.training.word2vec.errors import TrainingError


def write(path: Path, text: str = "some words\n") -> CorpusFile:
    path.write_text(text)
    return utf8_file(path)


def test_a_plain_file_is_divided_by_bytes_and_the_units_are_numbered(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.txt", "x" * 25), write(tmp_path / "b.txt", "y" * 10)
    units = plan_units([second, first], CorpusSettings(unit_bytes=10))
    assert [(unit.index, Path(unit.path).name, unit.begin, unit.end) for unit in units] == [
        (0, "b.txt", 0, 10),
        (1, "a.txt", 0, 10),
        (2, "a.txt", 10, 20),
        (3, "a.txt", 20, 25),
    ]
    assert {unit.file.size for unit in units[1:]} == {25}


def test_pieces_are_put_together_up_to_the_size_of_a_unit() -> None:
    file = CorpusFile("/rows", 100, 0, (10,) * 10)

    def bounds(unit_bytes: int) -> list[tuple[int, int]]:
        return [(unit.begin, unit.end) for unit in plan_units([file], CorpusSettings(unit_bytes=unit_bytes))]

    assert bounds(35) == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert bounds(1) == [(index, index + 1) for index in range(10)]
    assert bounds(1000) == [(0, 10)]


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"missing\.txt: cannot be read: No such file or directory$"):
        utf8_file(tmp_path / "missing.txt")


def test_a_missing_tokenizer_is_reported_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="tokenizer no_such:f: cannot be imported"):
        plan_units([write(tmp_path / "a.txt")], CorpusSettings(tokenizer="no_such:f"))


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the corpus is empty: .*a\.txt"):
        plan_units([write(tmp_path / "a.txt", "")], CorpusSettings())
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
    settings = CorpusSettings(tokenizer="unicode", lowercase=True, text_fields=("title", "body"), unit_bytes=7, phrases=2)
    assert CorpusSettings.from_json(settings.to_json()) == settings
    with pytest.raises(TrainingError, match=r"corpus settings: .*stemming"):
        CorpusSettings.from_json({"stemming": True})


def test_the_digest_depends_on_files_settings_and_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    corpus_settings = CorpusSettings()

    def digest(corpus_settings: CorpusSettings = corpus_settings, **vocabulary: int) -> str:
        return corpus_digest(plan_units([utf8_file(path)], corpus_settings), corpus_settings, vocabulary)

    write(path)
    first = digest(min_count=5)
    assert digest(min_count=5) == first
    others = {digest(min_count=4), digest(CorpusSettings(lowercase=True), min_count=5)}
    others.add(digest(CorpusSettings(text_fields=("body",)), min_count=5))
    os.utime(path, ns=(1, 1))
    others.add(digest(min_count=5))
    write(path, "some other words\n")
    os.utime(path, ns=(1, 1))
    others.add(digest(min_count=5))
    assert len(others | {first}) == 6
