"""The contract of every kind of embedding model."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.workers.encoding.model import (
    AS_DOCUMENT,
    AS_QUERY,
    EMPTY_TEXT,
    EmbeddingModel,
    EncodeOptions,
    Truncation,
    too_long,
)
from support.models.model_folders import TABLES, WORDS
from support.models.models import KINDS, MEANINGFUL, NORMALISED, check_cross_talk, make_model, sentences


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    return make_model(kind, tmp_path_factory.mktemp("models") / kind)


def test_a_text_has_the_same_vector_alone_and_in_a_batch(model: EmbeddingModel) -> None:
    texts = sentences(40, longest=30)
    together = model.encode(texts)
    assert together.errors == [""] * len(texts)
    for row in range(0, len(texts), 5):
        alone = model.encode([texts[row]])
        np.testing.assert_allclose(together.vectors[row], alone.vectors[0], atol=1e-5)
        assert (together.tokens[row], together.truncated[row]) == (alone.tokens[0], alone.truncated[0])


def test_the_length_of_other_texts_in_a_batch_does_not_change_a_vector(model: EmbeddingModel) -> None:
    check_cross_talk(model, [*sentences(12, longest=4), "moon", "tide " * 60, *sentences(6, longest=60), "a", "star"])


def test_vectors_are_in_the_order_of_the_texts(model: EmbeddingModel) -> None:
    texts = sentences(30, longest=20)
    forwards, backwards = model.encode(texts), model.encode(texts[::-1])
    np.testing.assert_allclose(forwards.vectors, backwards.vectors[::-1], atol=1e-5)
    assert forwards.tokens == backwards.tokens[::-1]


def test_answers_have_the_documented_shape(model: EmbeddingModel, kind: str) -> None:
    encoded = model.encode(sentences(7, longest=9), AS_QUERY)
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
    encoded = model.encode([])
    assert encoded.vectors.shape == (0, model.dimension)
    assert (encoded.tokens, encoded.truncated, encoded.errors) == ([], [], [])


def test_texts_without_content_are_errors_and_their_neighbours_are_answered(model: EmbeddingModel) -> None:
    texts = ["", "the tide", " \t\n", "\u3000", "the moon"]
    encoded = model.encode(texts)
    assert encoded.errors == [EMPTY_TEXT, "", EMPTY_TEXT, EMPTY_TEXT, ""]
    assert not encoded.vectors[[0, 2, 3]].any()
    np.testing.assert_allclose(encoded.vectors[[1, 4]], model.encode(["the tide", "the moon"]).vectors, atol=1e-5)


def test_a_hostile_text_gives_an_error_or_a_vector_and_its_neighbours_are_answered(model: EmbeddingModel) -> None:
    texts = ["the tide", "half a pair: \ud83d", "the moon", "nul \0 inside", "the star"]
    encoded = model.encode(texts)
    assert [encoded.errors[row] for row in (0, 2, 4)] == ["", "", ""]
    for row, error in enumerate(encoded.errors):
        assert bool(error) != bool(encoded.vectors[row].any())
        assert "\n" not in error


def long_words(model: EmbeddingModel) -> list[str]:
    return [WORDS[number % len(WORDS)] for number in range(3 * model.max_tokens)]


def test_a_text_above_the_models_limit_is_truncated_and_flagged(model: EmbeddingModel) -> None:
    words = long_words(model)
    longer = " ".join(words)
    other_end = " ".join([*words[: 2 * model.max_tokens], *reversed(WORDS)])
    encoded = model.encode([longer, "the tide", other_end])
    assert encoded.truncated == [True, False, True]
    assert encoded.tokens[0] == encoded.tokens[2] == model.max_tokens
    np.testing.assert_allclose(encoded.vectors[0], encoded.vectors[2], atol=1e-5)


def test_the_start_is_truncated_on_request(model: EmbeddingModel) -> None:
    words = long_words(model)
    texts = [" ".join(words), "the tide", " ".join([*reversed(WORDS), *words[-2 * model.max_tokens :]])]
    encoded = model.encode(texts, EncodeOptions(truncation=Truncation.START))
    assert (encoded.errors, encoded.truncated) == ([""] * 3, [True, False, True])
    assert encoded.tokens[0] == encoded.tokens[2] == model.max_tokens
    np.testing.assert_allclose(encoded.vectors[0], encoded.vectors[2], atol=1e-5)
    at_the_end = model.encode(texts)
    np.testing.assert_allclose(encoded.vectors[1], at_the_end.vectors[1], atol=1e-5)
    # Other words are read; if each word is read equally often, they come in another order.
    assert np.abs(encoded.vectors[2] - at_the_end.vectors[2]).max() > 1e-6


def test_a_text_that_is_too_long_is_refused_on_request(model: EmbeddingModel) -> None:
    encoded = model.encode([" ".join(long_words(model)), "the tide"], EncodeOptions(truncation=Truncation.REFUSE))
    assert encoded.errors == [too_long(model.max_tokens), ""]
    assert (encoded.truncated, encoded.vectors[0].any(), encoded.vectors[1].any()) == ([False, False], False, True)


def test_a_huge_text_costs_little_and_is_read_up_to_the_models_limit(model: EmbeddingModel) -> None:
    far_apart = "the" + " " * 400_000 + "tide"
    for truncation in (Truncation.END, Truncation.START):
        encoded = model.encode(["tide " * 100_000, far_apart], EncodeOptions(truncation=truncation))
        assert encoded.errors == ["", ""]
        assert encoded.truncated[0]
        assert encoded.tokens[0] == model.max_tokens


def test_a_prompt_has_the_effect_of_a_prefix_of_the_text(model: EmbeddingModel, kind: str) -> None:
    if kind == "instructor":
        pytest.skip("leaves prompts out of its pooling")
    prompted = model.encode(["the tide", "moon"], EncodeOptions(prompt="a star: "))
    written = model.encode(["a star: the tide", "a star: moon"], EncodeOptions(prompt=""))
    np.testing.assert_allclose(prompted.vectors, written.vectors, atol=1e-5)
    assert prompted.tokens == written.tokens
    assert model.encode(["", " "], EncodeOptions(prompt="a star: ")).errors == [EMPTY_TEXT, EMPTY_TEXT]


def test_vectors_are_normalized_on_request(model: EmbeddingModel) -> None:
    texts = sentences(5, longest=9)
    as_it_is = model.encode(texts).vectors
    unit = model.encode(texts, EncodeOptions(normalize=True)).vectors
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(unit, as_it_is / np.linalg.norm(as_it_is, axis=1, keepdims=True), atol=1e-6)
    raw = model.encode(texts, EncodeOptions(normalize=False)).vectors
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), unit, atol=1e-6)


def test_dimensions_keeps_the_leading_ones(model: EmbeddingModel, kind: str) -> None:
    texts = ["the tide turns at once in deep water and the moon locks slowly", "a shoal of fish faces one side of a planet"]
    kept = model.dimension // 2
    whole = model.encode(texts, EncodeOptions(normalize=False)).vectors
    short = model.encode(texts, EncodeOptions(dimensions=kept)).vectors
    expected = whole[:, :kept]
    if kind in NORMALISED:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(short, expected, atol=1e-6)


def test_the_probe_has_a_vector(model: EmbeddingModel) -> None:
    assert model.encode([model.probe_text]).errors == [""]


def test_similar_texts_score_above_dissimilar_ones(model: EmbeddingModel, kind: str) -> None:
    unlike = "the moon locks slowly" if kind in TABLES else "quarterly tax return"
    vectors = model.encode(["a shoal of fish", "the fish of a shoal", unlike], AS_DOCUMENT).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert likeness[np.triu_indices(3, 1)].max() < 0.999
    if kind in MEANINGFUL:
        assert likeness[0, 1] > likeness[0, 2] + 0.2
