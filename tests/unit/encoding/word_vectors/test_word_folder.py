import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.model import EncodeOptions, ModelError
from shoal.workers.encoding.static.table_model import NOTHING_KNOWN
from shoal.workers.encoding.word_vectors.folder_writing import save_word_folder
from shoal.workers.encoding.word_vectors.word_folder import Pooling, WordFolderConfig, is_word_folder, read_word_folder
from shoal.workers.encoding.word_vectors.word_table import WordTable, read_word_table

WORDS = ("the", "tide", "turns", "new_york")
COUNTS = np.array([700, 200, 75, 25])
VECTORS = np.array([[1, 2, 3], [-4, 5, 0.5], [0.25, -1, 8], [6, 6, -6]], dtype=np.float32)
RAW = EncodeOptions(normalize=False)


def write(folder: Path, **config: Any) -> Path:
    save_word_folder(folder, WordTable(WORDS, VECTORS, COUNTS), WordFolderConfig(**config))
    return folder


def load(folder: Path) -> Any:
    return load_model(str(folder), threads=1)


def change(folder: Path, **values: Any) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **values}))


def test_a_saved_folder_is_read_back(tmp_path: Path) -> None:
    config = WordFolderConfig(
        pooling=Pooling.SIF,
        sif_a=0.01,
        normalize=False,
        tokenizer="mine.module:split",
        lowercase=True,
        phrases=True,
        training={"epochs": 5, "corpus": ["a.txt"]},
    )
    folder = write(tmp_path / "m", **{name: getattr(config, name) for name in config.__slots__})
    found = read_word_folder(folder, "m")
    assert (found.config, tuple(found.words)) == (config, WORDS)
    assert found.counts is not None and found.counts.tolist() == COUNTS.tolist()
    np.testing.assert_array_equal(found.vectors, VECTORS)
    table = read_word_table(folder)
    assert (table.words, table.counts is not None and table.counts.tolist()) == (WORDS, COUNTS.tolist())
    np.testing.assert_array_equal(table.vectors, VECTORS)


def test_a_text_is_the_mean_of_its_words(tmp_path: Path) -> None:
    model = load(write(tmp_path / "m"))
    assert (model.dimension, model.probe_text) == (3, "the")
    found = model.encode(["Tide turns, the tide; unheard!", "unheard of", "the"], RAW)
    assert found.errors == ["", NOTHING_KNOWN, ""]
    np.testing.assert_allclose(
        found.vectors[[0, 2]], [(2 * VECTORS[1] + VECTORS[2] + VECTORS[0]) / 4, VECTORS[0]], rtol=1e-6
    )
    np.testing.assert_allclose(np.linalg.norm(model.encode(["tide"]).vectors), 1, rtol=1e-6)


def test_sif_weighs_a_word_by_its_share_of_the_corpus(tmp_path: Path) -> None:
    found = load(write(tmp_path / "m", pooling=Pooling.SIF, sif_a=0.1)).encode(["the tide turns", "new_york"], RAW)
    the, tide, turns = 0.1 / (0.1 + 0.7), 0.1 / (0.1 + 0.2), 0.1 / (0.1 + 0.075)
    expected = (the * VECTORS[0] + tide * VECTORS[1] + turns * VECTORS[2]) / 3
    np.testing.assert_allclose(found.vectors, [expected, VECTORS[3] * 0.1 / 0.125], rtol=1e-6)


def test_texts_are_split_by_the_rule_of_the_corpus(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a", phrases=True)).encode(["New York"]).tokens == [1]
    assert load(write(tmp_path / "b")).encode(["New York"]).errors == [NOTHING_KNOWN]
    assert load(write(tmp_path / "c", tokenizer="whitespace", lowercase=True)).encode(["THE tide?"]).tokens == [2]


def test_vectors_stay_in_the_file(tmp_path: Path) -> None:
    """Replicas on one machine then share its pages; a change of the file shows, as it does not in a copy."""
    model = load(write(tmp_path / "m"))
    with (tmp_path / "m" / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(42).tobytes())
    assert model.encode(["new_york"], RAW).vectors[0, 2] == 42


def test_everything_that_determines_vectors_is_in_the_fingerprint(tmp_path: Path) -> None:
    base = write(tmp_path / "m", training={"epochs": 5})
    fingerprint = load(base).fingerprint
    shutil.copytree(base, tmp_path / "copy")
    assert load(tmp_path / "copy").fingerprint == fingerprint
    changes: list[dict[str, Any]] = [
        {"pooling": "sif"},
        {"pooling": "sif", "sif_a": 0.5},
        {"normalize": False},
        {"lowercase": True},
        {"phrases": True},
    ]
    shutil.copytree(base, tmp_path / "tokenizer")
    change(tmp_path / "tokenizer", tokenizer="whitespace")
    assert load(tmp_path / "tokenizer").fingerprint == fingerprint, "the words of a text are found in the same way"
    found = [fingerprint]
    for number, values in enumerate(changes):
        shutil.copytree(base, tmp_path / str(number))
        change(tmp_path / str(number), **values)
        found.append(load(tmp_path / str(number)).fingerprint)
    for name, file in (("vectors", "model.safetensors"), ("words", "vocabulary.txt")):
        shutil.copytree(base, tmp_path / name)
        content = (tmp_path / name / file).read_bytes()
        (tmp_path / name / file).write_bytes(content.replace(b"tide", b"tale") if name == "words" else content[:-1] + b"\1")
        found.append(load(tmp_path / name).fingerprint)
    assert len(set(found)) == 8
    change(tmp_path / "copy", training={"epochs": 6}, sif_a=0.25)
    assert load(tmp_path / "copy").fingerprint == fingerprint, "how it was trained, and what is not used, decides nothing"


def test_counts_may_be_unknown_where_they_are_not_used(tmp_path: Path) -> None:
    save_word_folder(tmp_path / "m", WordTable(WORDS, VECTORS, None), WordFolderConfig())
    assert read_word_table(tmp_path / "m").counts is None
    assert load(tmp_path / "m").encode(["tide"]).errors == [""]
    change(tmp_path / "m", pooling="sif")
    with pytest.raises(ModelError, match=r"pooling of config.json is sif, but vocabulary.txt has no count above 0"):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"format_version": 2}, "format_version of config.json is 2, supported is 1"),
        ({"pooling": "max"}, "pooling of config.json is 'max', expected mean or sif"),
        ({"pooling": ["sif"]}, "pooling of config.json is ['sif'], expected mean or sif"),
        ({"sif_a": 0}, "sif_a of config.json is 0, expected a number above 0"),
        ({"sif_a": "1e-3"}, "sif_a of config.json is '1e-3', expected a number above 0"),
        (
            {"tokenizer": "bert"},
            "tokenizer of config.json is 'bert', expected unicode, whitespace or package.module:function",
        ),
        (
            {"tokenizer": None},
            "tokenizer of config.json is None, expected unicode, whitespace or package.module:function",
        ),
        (
            {"tokenizer": "os:system"},
            "tokenizer of config.json is the function 'os:system', which is not run for safety; "
            "replace it by unicode or whitespace, which split most texts alike",
        ),
        ({"lowercase": "no"}, "lowercase of config.json is 'no', expected true or false"),
        ({"normalize": None}, "normalize of config.json is None, expected true or false"),
        ({"training": 3}, "training of config.json is 3, expected an object"),
        ({"words": 5}, "config.json states 5 words of dimension 3, model.safetensors has 4 of 3"),
        ({"dim": "3"}, "config.json states 4 words of dimension 3, model.safetensors has 4 of 3"),
    ],
)
def test_a_malformed_config_is_reported(values: dict[str, Any], reason: str, tmp_path: Path) -> None:
    change(write(tmp_path / "m"), **values)
    with pytest.raises(ModelError) as caught:
        load(tmp_path / "m")
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("model.safetensors", None, "the folder has no model.safetensors"),
        ("vocabulary.txt", None, "the folder has no vocabulary.txt"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0no JSON.", "model.safetensors cannot be read: "),
        ("model.safetensors", b'\x0d\0\0\0\0\0\0\0{"other": {}}', "model.safetensors has no tensor input"),
        ("vocabulary.txt", b"the 1\ntide 1\n", "vocabulary.txt has 2 words, model.safetensors has 4 rows"),
        ("vocabulary.txt", b"the 1\ntide\n", "line 2 of vocabulary.txt is 'tide', expected a word and its count"),
        ("vocabulary.txt", b"a 1\nb 1\nc 1\na 1\n", "line 4 of vocabulary.txt repeats the word 'a'"),
    ],
)
def test_a_damaged_folder_is_reported(file: str, content: bytes | None, reason: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert caught.value.reason.startswith(reason)


def test_truncated_vectors_are_reported(tmp_path: Path) -> None:
    file = write(tmp_path / "m") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model.safetensors is cut short: input does not fit into it"):
        load(tmp_path / "m")


def test_other_folders_are_not_taken_for_trained_vectors(tmp_path: Path) -> None:
    assert not is_word_folder(tmp_path)
    for content in ("{}", "[]", "{", '{"format": "another"}'):
        (tmp_path / "config.json").write_text(content)
        assert not is_word_folder(tmp_path)
    with pytest.raises(ModelError, match="the folder has no trained word vectors"):
        read_word_table(tmp_path)
    with pytest.raises(ModelError, match="this kind of model does not support int8"):
        load_model(f"{write(tmp_path / 'm')}@int8", threads=1)
