"""The folder of a trained table of word vectors: its files and settings, and reading it. `folder_writing` writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.json_files import read_json
from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.word_vectors.tensor_file import TensorFile
from shoal.workers.encoding.word_vectors.vocabulary_file import read_vocabulary
from shoal.workers.encoding.word_vectors.word_lookup import UNICODE, WHITESPACE, WordRule

CONFIG_FILE, VECTORS_FILE, OUTPUT_FILE, VOCABULARY_FILE = (
    *("config.json", "model.safetensors", "output.safetensors"),
    "vocabulary.txt",
)
"""Settings; the vectors; optionally the output table of the training; words and counts, in the order of rows."""
VECTORS_TENSOR, OUTPUT_TENSOR = "input", "output"
FORMAT, FORMAT_VERSION = "shoal word vectors", 1
DEFAULT_SIF_A = 1e-3


class Pooling(StrEnum):
    """How the vectors of words become the vector of a text."""

    MEAN = "mean"
    SIF = "sif"
    """Smooth inverse frequency: word w has the weight a / (a + p(w)), where p(w) is its share of the corpus (Arora et al.
    2017, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings"). The paper also removes the first principal
    component of a set of texts; this is left out here, because a text's vector would then depend on the other texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordFolderConfig:
    """The content of config.json, without format and size."""

    pooling: Pooling = Pooling.MEAN
    sif_a: float = DEFAULT_SIF_A
    normalize: bool = True
    """Whether vectors of texts are scaled to unit length."""
    tokenizer: str = UNICODE
    """UNICODE, WHITESPACE, or the "package.module:function" that split the corpus. With a function, the folder is no model
    for texts: a model folder must not decide which code runs."""
    lowercase: bool = False
    phrases: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    """The training's settings, as JSON values; for people to read only."""

    @property
    def rule(self) -> WordRule:
        """How the words of texts are found."""
        return WordRule(self.lowercase, self.phrases)

    def decisive(self) -> dict[str, Any]:
        """The settings that decide the vectors of texts, as JSON values."""
        return {
            "pooling": self.pooling.value,
            "sif_a": self.sif_a if self.pooling is Pooling.SIF else None,
            "normalize": self.normalize,
            "lowercase": self.lowercase,
            "phrases": self.phrases,
        }

    def to_json(self, words: int, dim: int) -> bytes:
        """The content of config.json for a table of this size."""
        size = {"format": FORMAT, "format_version": FORMAT_VERSION, "words": words, "dim": dim}
        values = {
            **size,
            **self.decisive(),
            "sif_a": self.sif_a,
            "tokenizer": self.tokenizer,
            "training": dict(self.training),
        }
        return (json.dumps(values, indent=2) + "\n").encode()


@dataclass(frozen=True, slots=True)
class WordFolder:
    """A table with memory-mapped vectors."""

    config: WordFolderConfig
    words: list[str]
    counts: npt.NDArray[np.int64] | None
    """(words,) occurrences of each word in the corpus; None if unknown."""
    vectors: npt.NDArray[np.float32]
    """(words, dim) float32."""

    def weights(self) -> npt.NDArray[np.float32] | None:
        """(words,) float32 weight of each word in a text; None if all are 1."""
        if self.config.pooling is Pooling.MEAN or self.counts is None:
            return None
        shares = self.counts / self.counts.sum()
        return (self.config.sif_a / (self.config.sif_a + shares)).astype(np.float32)


def is_word_folder(folder: Path) -> bool:
    """Whether config.json says that a training wrote this folder; its files may still be missing or malformed."""
    try:
        config = read_json(folder / CONFIG_FILE)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def read_word_folder(folder: Path, name: str) -> WordFolder:
    """The table in `folder`; `name` is its name in errors. Raises ModelError when a file is missing or malformed."""
    values = _values(folder, name)
    config = _config(values, name)
    vectors = TensorFile(folder / VECTORS_FILE, name).matrix(VECTORS_TENSOR, ("F32",))
    stated, found = (values.get("words"), values.get("dim")), vectors.shape
    if stated != found:
        raise ModelError(
            name,
            f"{CONFIG_FILE} states {stated[0]} words of dimension {stated[1]}, {VECTORS_FILE} has {found[0]} of {found[1]}",
        )
    counted = read_vocabulary(folder / VOCABULARY_FILE, name)
    if len(counted.words) != len(vectors):
        raise ModelError(name, f"{VOCABULARY_FILE} has {len(counted.words)} words, {VECTORS_FILE} has {len(vectors)} rows")
    if config.pooling is Pooling.SIF and (counted.counts is None or not counted.counts.any()):
        raise ModelError(name, f"pooling of {CONFIG_FILE} is sif, but {VOCABULARY_FILE} has no count above 0")
    return WordFolder(config, counted.words, counted.counts, vectors)


def _values(folder: Path, name: str) -> dict[str, Any]:
    try:
        values = read_json(folder / CONFIG_FILE)
    except (OSError, ValueError) as error:
        raise ModelError(name, f"{CONFIG_FILE} cannot be read: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ModelError(name, f"{CONFIG_FILE} does not have the format {FORMAT!r}")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(name, f"format_version of {CONFIG_FILE} is {version!r}, supported is {FORMAT_VERSION}")
    return values


def _config(values: Mapping[str, Any], name: str) -> WordFolderConfig:
    def refuse(key: str, expected: str) -> ModelError:
        return ModelError(name, f"{key} of {CONFIG_FILE} is {values.get(key)!r}, expected {expected}")

    pooling, sif_a, tokenizer = values.get("pooling"), values.get("sif_a", DEFAULT_SIF_A), values.get("tokenizer")
    if pooling not in list(Pooling):
        raise refuse("pooling", " or ".join(Pooling))
    if isinstance(sif_a, bool) or not isinstance(sif_a, int | float) or not 0 < sif_a < math.inf:
        raise refuse("sif_a", "a number above 0")
    if tokenizer not in (UNICODE, WHITESPACE) and not (isinstance(tokenizer, str) and ":" in tokenizer):
        raise refuse("tokenizer", f"{UNICODE}, {WHITESPACE} or package.module:function")
    for key in ("normalize", "lowercase", "phrases"):
        if not isinstance(values.get(key), bool):
            raise refuse(key, "true or false")
    training = values.get("training", {})
    if not isinstance(training, dict):
        raise refuse("training", "an object")
    return WordFolderConfig(
        pooling=Pooling(pooling),
        sif_a=float(sif_a),
        normalize=values["normalize"],
        tokenizer=tokenizer,
        lowercase=values["lowercase"],
        phrases=values["phrases"],
        training=training,
    )
