"""Models of every family give the vectors of sentence-transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.workers.encoding.model import AS_DOCUMENT, AS_QUERY, ModelError, Role
from support.models.model_folders import (
    MAX_TOKENS,
    TABLES,
    TRANSFORMERS,
    bert_mean_folder,
    mpnet_folder,
)
from support.models.models import (
    TEXTS,
    check_cross_talk,
    loaded,
    minilm_folder,
    plain_vector,
    reference,
    reference_vectors,
    sentences,
)

pytest.importorskip("torch")
pytest.importorskip("transformers")

FOLDERS = TRANSFORMERS | {name: TABLES[name] for name in ("static-embedding", "model2vec")}
LONG = ("a shoal of fish turns at once in deep water and slowly the moon locks " * 4, *sentences(3, longest=60))


@pytest.mark.parametrize("family", FOLDERS)
def test_vectors_equal_those_of_sentence_transformers(family: str, tmp_path: Path) -> None:
    folder = FOLDERS[family](tmp_path / "model")
    model, other = loaded(folder), reference(folder)
    texts = list(TEXTS)
    if family == "model2vec":
        # Unknown tokens are skipped, as in model2vec; sentence-transformers includes them in the average.
        texts.remove("Water: 月?")
    elif family == "roberta-mean":
        # Without a stated limit sentence-transformers reads more tokens than the model has positions, and fails.
        texts = [text for text in texts if len(text) < MAX_TOKENS - 2]
    else:
        texts.extend(LONG)
    for role, options in ((Role.DOCUMENT, AS_DOCUMENT), (Role.QUERY, AS_QUERY)):
        encoded = model.encode(texts, options)
        expected = reference_vectors(other, texts, role)
        if family == "roberta-mean":
            # A plain folder: its vectors are normalised here.
            expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        assert encoded.errors == [""] * len(texts)
        np.testing.assert_allclose(encoded.vectors, expected, atol=1e-5)


@pytest.mark.parametrize("family", ["bert-mean", "dense", "qwen3-left", "distilbert-sinusoidal", "static-embedding"])
def test_a_folder_that_sentence_transformers_saved_is_the_same_model(family: str, tmp_path: Path) -> None:
    folder = FOLDERS[family](tmp_path / "model")
    reference(folder).save(str(tmp_path / "saved"), create_model_card=False)
    model, saved = loaded(folder), loaded(tmp_path / "saved")
    assert (saved.max_tokens, saved.dimension) == (model.max_tokens, model.dimension)
    for options in (AS_DOCUMENT, AS_QUERY):
        np.testing.assert_allclose(saved.encode(TEXTS, options).vectors, model.encode(TEXTS, options).vectors, atol=1e-6)


def with_floats(value: Any) -> Any:
    """A JSON value in which every integer is written as 512.0."""
    if isinstance(value, dict):
        return {key: with_floats(one) for key, one in value.items()}
    if isinstance(value, list):
        return [with_floats(one) for one in value]
    return float(value) if type(value) is int else value


@pytest.mark.parametrize("family", ["dense", "modernbert", "qwen3-left", "static-embedding", "model2vec", "trained"])
def test_numbers_with_a_point_zero_in_any_file_are_integers(family: str, tmp_path: Path) -> None:
    folder = (TRANSFORMERS | TABLES)[family](tmp_path / "model")
    model = loaded(folder)
    for file in folder.rglob("*.json"):
        # The tokenizers library reads its own file, and takes integers only.
        if file.name != "tokenizer.json":
            file.write_text(json.dumps(with_floats(json.loads(file.read_text()))))
    other = loaded(folder)
    assert (other.max_tokens, other.dimension) == (model.max_tokens, model.dimension)
    assert (type(other.max_tokens), type(other.dimension)) == (int, int)
    np.testing.assert_array_equal(other.encode(TEXTS).vectors, model.encode(TEXTS).vectors)


@pytest.mark.parametrize("stated", ["512.0", "5.12e2", "512"])
def test_a_token_limit_written_as_a_float_is_an_integer(stated: str, tmp_path: Path) -> None:
    folder = bert_mean_folder(tmp_path / "model")
    (folder / "sentence_bert_config.json").unlink()
    config = folder / "tokenizer_config.json"
    config.write_text(re.sub(r'"model_max_length": \d+', f'"model_max_length": {stated}', config.read_text()))
    model = loaded(folder)
    assert (model.max_tokens, type(model.max_tokens)) == (64, int)


@pytest.mark.parametrize("stated", ["512.5", "0", "-1", '"512"', "true"])
def test_a_token_limit_that_is_no_integer_is_refused(stated: str, tmp_path: Path) -> None:
    folder = bert_mean_folder(tmp_path / "model")
    config = folder / "tokenizer_config.json"
    config.write_text(re.sub(r'"model_max_length": \d+', f'"model_max_length": {stated}', config.read_text()))
    with pytest.raises(ModelError, match="model_max_length of the tokenizer must be an integer of at least 1, not "):
        loaded(folder)


def test_real_minilm_equals_sentence_transformers() -> None:
    folder = minilm_folder()
    texts = [
        *TEXTS,
        *LONG,
        "Error 0x80070057: the parameter is incorrect",
        "Der Mond wendet der Erde immer dieselbe Seite zu.",
    ]
    expected = reference_vectors(reference(folder), texts, Role.DOCUMENT)
    np.testing.assert_allclose(loaded(folder).encode(texts).vectors, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "pooling", "normalize"),
    [
        ("bert-cls", "cls", False),
        ("roberta-mean", "mean", True),
        ("distilbert-sinusoidal", "mean", False),
        ("modernbert", "mean", True),
        ("llama-last", "lasttoken", True),
        ("qwen3-left", "lasttoken", True),
    ],
)
def test_vectors_equal_plain_transformers(family: str, pooling: str, normalize: bool, tmp_path: Path) -> None:
    folder = TRANSFORMERS[family](tmp_path / "model")
    texts = ["the tide", "one side faces the planet and turns.", "moon"]
    expected = [plain_vector(folder, text, pooling, normalize) for text in texts]
    np.testing.assert_allclose(loaded(folder).encode(texts).vectors, expected, atol=1e-5)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_the_limit_is_the_least_of_what_files_and_positions_allow(family: str, tmp_path: Path) -> None:
    assert loaded(TRANSFORMERS[family](tmp_path / "model")).max_tokens == MAX_TOKENS


def test_positions_that_a_config_states_are_a_limit(tmp_path: Path) -> None:
    """Rotary positions have no table, and tokenizers may state far more than the model has seen."""
    folder = TRANSFORMERS["qwen3-left"](tmp_path / "model")
    (folder / "sentence_bert_config.json").unlink()
    assert loaded(folder).max_tokens == reference(folder).max_seq_length == 64


def test_texts_that_attend_to_each_other_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests the check: attention over a packed batch as if it were one text."""
    from shoal.workers.encoding.networks import unpadded_network as flat_network

    def mixing(lengths: Sequence[int], *others: Any) -> Any:
        return honest([sum(lengths)], *others)

    model, honest = loaded(bert_mean_folder(tmp_path / "model")), flat_network.cpu_attention
    check_cross_talk(model, sentences(6, longest=9))
    monkeypatch.setattr(flat_network, "cpu_attention", mixing)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_cross_talk(model, sentences(6, longest=9))


def test_attention_to_padding_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests the check: a padded batch without its mask."""
    import torch

    model: Any = loaded(mpnet_folder(tmp_path / "model"))
    honest = model._network._model

    class Blind(torch.nn.Module):
        def forward(self, attention_mask: torch.Tensor, **inputs: Any) -> Any:
            return honest(attention_mask=torch.ones_like(attention_mask), **inputs)

    check_cross_talk(model, sentences(6, longest=9))
    monkeypatch.setattr(model._network, "_model", Blind())
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_cross_talk(model, sentences(6, longest=9))
