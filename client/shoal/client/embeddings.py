"""What embedding calls give back: frozen dataclasses over NumPy arrays, and the words for what can be asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.client.errors import ShoalError

Truncation: TypeAlias = Literal["end", "start", "refuse"]
VectorType: TypeAlias = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True)
class EmbedTiming:
    """Where an embedding request spent its time, as measured by the server."""

    total_s: float
    tokenize_s: float
    queue_s: float
    """Waiting for the model."""
    infer_s: float
    """In which the model worked on batches with texts of this request; 0 where all vectors came from the query cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of texts, in the order of the texts."""

    vectors: npt.NDArray[np.float32 | np.float16]
    """Shape (texts, dimension); the row of a text with an error is zero."""
    tokens: npt.NDArray[np.int32]
    """Shape (texts,): what the model read of each text, special tokens and prompts included; 0 where there is an error."""
    truncated: tuple[int, ...]
    """Places of the texts that were longer than the model reads."""
    errors: Mapping[int, ShoalError]
    """Why texts have no vector, by place; empty when every text has one."""
    fingerprint: str
    """Of the model: vectors compare only where it is equal."""
    timing: EmbedTiming
    start: int = 0
    """Place of the first text in the iterable that `embed_many` was given; the places above count from there."""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class EmbedProgress:
    """How far `embed_many` is. Every count is of texts since its start."""

    sent: int
    answered: int
    failed: int
    """Answered with an error."""
    tokens: int
