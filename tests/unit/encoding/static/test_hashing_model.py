import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.model import AS_DOCUMENT, EMPTY_TEXT, ModelError
from shoal.workers.encoding.static.hashing_model import HashingModel


def vector(text: str, dimension: int = 256) -> np.ndarray:
    encoded = HashingModel(dimension).encode([text], AS_DOCUMENT)
    assert encoded.errors == [""]
    return encoded.vectors[0]


def test_vectors_are_these_on_every_machine() -> None:
    # Computed once; another value means that stored vectors are no longer comparable, which needs a new revision.
    expected = [-0.18853569, 0.23198728, -0.06284523, 0.72542053, 0.0, 0.48336819, 0.0680005, -0.37707138]
    np.testing.assert_allclose(vector("Shoal: the tide, the tide.", 8), expected, atol=1e-7)
    assert HashingModel(8).fingerprint == "d1de8c988e05c5fdf675ebe077bb39ac"


def test_another_process_with_another_hash_seed_agrees() -> None:
    code = (
        "import sys\n"
        "from shoal.workers.encoding.static.hashing_model import HashingModel\n"
        "from shoal.workers.encoding.model import AS_QUERY\n"
        "encoded = HashingModel().encode(['tidal locking of moons'], AS_QUERY)\n"
        "sys.stdout.write(encoded.vectors.tobytes().hex())\n"
        "assert 'torch' not in sys.modules\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert bytes.fromhex(run.stdout) == vector("tidal locking of moons").tobytes()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.sampled_from([8, 64, 256]))
def test_any_text_gives_a_unit_vector_or_is_called_empty(text: str, dimension: int) -> None:
    encoded = HashingModel(dimension).encode([text], AS_DOCUMENT)
    if encoded.errors[0]:
        assert encoded.errors == [EMPTY_TEXT]
        assert not encoded.vectors.any()
    else:
        assert np.linalg.norm(encoded.vectors[0]) == pytest.approx(1.0, abs=1e-6)
        assert encoded.tokens[0] > 0


def test_similarity_follows_shared_words_their_order_and_their_stems() -> None:
    query = vector("the planet orbits its star")
    same, other_order = vector("The planet orbits its STAR!"), vector("star its orbits planet the")
    stems, unrelated = vector("planets orbiting stars"), vector("quarterly revenue grew strongly")
    scores = [float(query @ other) for other in (same, other_order, stems, unrelated)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9
    assert abs(scores[3]) < 0.2


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert np.array_equal(vector("caf\u00e9"), vector("cafe\u0301"))


def test_marks_belong_to_their_letters() -> None:
    """Vowel signs were tokens of their own, so that words of other letters with the same vowels were similar."""
    assert HashingModel().encode(["\u0939\u093f\u0928\u094d\u0926\u0940 \u0e19\u0e49\u0e33"], AS_DOCUMENT).tokens == [2]
    assert np.array_equal(vector("don\u2019t co\u00adoperate"), vector("don't cooperate"))


def test_words_after_the_limit_are_cut() -> None:
    words = [f"word{number}" for number in range(600)]
    encoded = HashingModel().encode([" ".join(words), " ".join(words[:512])], AS_DOCUMENT)
    assert encoded.truncated == [True, False]
    assert encoded.tokens == [512, 512]
    assert np.array_equal(encoded.vectors[0], encoded.vectors[1])


def test_a_huge_word_is_cut_like_many_words() -> None:
    encoded = HashingModel().encode(["x" * 2_000_000], AS_DOCUMENT)
    assert (encoded.tokens, encoded.truncated, encoded.errors) == ([512], [True], [""])


@pytest.mark.parametrize("dimension", [7, 4097, -1])
def test_dimensions_outside_the_limits_are_refused(dimension: int) -> None:
    with pytest.raises(ModelError, match=rf"model 'hashing:{dimension}': dimension must be 8 to 4096, not {dimension}"):
        HashingModel(dimension)


def test_fingerprints_differ_by_dimension_only() -> None:
    assert HashingModel(64).fingerprint == HashingModel(64, name="other").fingerprint
    assert HashingModel(64).fingerprint != HashingModel(65).fingerprint
