from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.model import EmbeddingModel, EncodeOptions, ModelError, Tokenized, Vectors, may_pass

KINDS = ("good", "raises", "nan", "zero", "spoils")


class FragileModel(EmbeddingModel):
    """A text's vector is [its number, 1]; texts can raise, give NaN or zeros, or spoil the rows of all others."""

    name, fingerprint, dimension, max_tokens, bounds = "fragile", "f00d", 2, 100, BatchBounds(100)

    def __init__(self) -> None:
        self.runs = 0

    def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        raise NotImplementedError

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        self.runs += 1
        kinds = [kind for _, kind in (text.content for text in batch)]
        if "raises" in kinds:
            raise RuntimeError("no such token")
        if "lost" in kinds:
            raise ModelError("fragile", "the GPU no longer answers")
        vectors = np.array([[number, 1] for number, _ in (text.content for text in batch)], dtype=np.float32)
        for row, kind in enumerate(kinds):
            if kind == "nan":
                vectors[row, 1] = np.nan
            if kind == "zero":
                vectors[row] = 0
            if kind == "spoils" and len(batch) > 1:
                vectors[:] = np.inf
        # As torch gives them, at times.
        vectors.flags.writeable = False
        return vectors

    def finish(self, vectors: Vectors, options: EncodeOptions) -> Vectors:
        raise NotImplementedError


def batch_of(kinds: Sequence[str]) -> list[Tokenized]:
    return [Tokenized(1, content=(number, kind)) for number, kind in enumerate(kinds, 1)]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=40))
def test_each_text_gets_the_result_it_would_get_alone(kinds: list[str]) -> None:
    vectors, reasons = FragileModel().forward_isolated(batch_of(kinds))
    assert vectors.shape == (len(kinds), 2)
    for row, kind in enumerate(kinds):
        assert reasons.get(row, "") == ("the model failed: RuntimeError: no such token" if kind == "raises" else "")
        expected = {"raises": [0, 0], "zero": [0, 0], "nan": [row + 1, np.nan]}.get(kind, [row + 1, 1])
        np.testing.assert_array_equal(vectors[row], expected)


@pytest.mark.parametrize(("bad", "runs"), [("nan", 2), ("zero", 2), ("raises", 1 + 2 * 10), ("spoils", 1 + 2 * 10)])
def test_one_bad_text_costs_few_extra_runs(bad: str, runs: int) -> None:
    model = FragileModel()
    model.forward_isolated(batch_of(["good"] * 77 + [bad] + ["good"] * 946))
    assert model.runs == runs


def test_a_broken_model_does_not_blame_a_text() -> None:
    model = FragileModel()
    with pytest.raises(ModelError):
        model.forward_isolated(batch_of(["good", "lost"]))
    assert model.runs == 1


@pytest.mark.parametrize(
    ("error", "again"),
    [
        ("the model failed: RuntimeError: no memory", True),
        ("the tokenizer failed: Exception: busy", True),
        ("the model's table has none of the text's words", False),
        ("the vector is not finite", False),
    ],
)
def test_only_an_exception_may_pass(error: str, again: bool) -> None:
    assert may_pass(error) is again
