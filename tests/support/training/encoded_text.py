"""Small corpora for tests: text to encoded corpora and back to words."""

from __future__ import annotations

from pathlib import Path

from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.counting import UnitCounts, id_blocks, read_words, scan_unit
from shoal.workers.training.word2vec.corpus.units import CorpusUnit, plan_units, utf8_file
from shoal.workers.training.word2vec.learner import SENTENCE_END


def write_corpus(folder: Path, text: str | bytes, name: str = "corpus.txt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def scan(path: Path, corpus_settings: CorpusSettings) -> list[UnitCounts]:
    folder = path.parent / "encoded"
    folder.mkdir(exist_ok=True)
    return [scan_unit(unit, corpus_settings, folder) for unit in units_of(path, corpus_settings)]


def units_of(path: Path, corpus_settings: CorpusSettings) -> list[CorpusUnit]:
    return plan_units([utf8_file(path)], corpus_settings)


def sentences_of(counts: UnitCounts) -> list[list[str]]:
    """The sentences that a scan wrote, as words."""
    sentences: list[list[str]] = []
    for section in counts.sections:
        table = read_words(section)
        words = dict(zip(table["id"].to_pylist(), table["word"].to_pylist(), strict=True))
        open_sentence: list[str] = []
        for number in [number for block in id_blocks(section.ids) for number in block.tolist()]:
            if number == SENTENCE_END:
                sentences.append(open_sentence)
                open_sentence = []
            else:
                open_sentence.append(words[number])
        assert not open_sentence, "the last sentence does not end"
    return sentences


def words_of_all(parts: list[UnitCounts]) -> list[str]:
    return [word for part in parts for sentence in sentences_of(part) for word in sentence]
