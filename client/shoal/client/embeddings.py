"""What embedding calls return: frozen dataclasses of NumPy arrays; and the types of their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from shoal.client.errors import ShoalError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Truncation: TypeAlias = Literal["end", "start", "refuse"]
VectorType: TypeAlias = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True)
class EmbedTiming:
    """Where an embedding request spent its time, as measured by the server."""

    total_s: float
    tokenize_s: float
    queue_s: float
    """Time in the model's queue."""
    infer_s: float
    """Time in which the model computed batches with texts of this request; 0 if all vectors came from the query cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of texts, in the order of the texts."""

    vectors: npt.NDArray[np.float32 | np.float16]
    """Shape (texts, dimension); the row of a text with an error is zero."""
    tokens: npt.NDArray[np.int32]
    """Shape (texts,): how many tokens of each text the model read, with special tokens and prompts; 0 for an error."""
    truncated: tuple[int, ...]
    """Indices of the texts that were longer than the model reads."""
    errors: Mapping[int, ShoalError]
    """Why texts have no vector, by index; empty if every text has one."""
    fingerprint: str
    """Of the model: vectors are comparable only if their fingerprints are equal."""
    timing: EmbedTiming
    start: int = 0
    """Index of the first text in the iterable that `embed_many` was given; the indices above count from there."""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class EmbedProgress:
    """How far `embed_many` is. All counts are of texts since its start."""

    sent: int
    answered: int
    failed: int
    """Answered with an error."""
    tokens: int
