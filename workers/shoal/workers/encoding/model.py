"""What every kind of embedding model offers, and the check that each vector passes before it leaves.

The models themselves live elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

EMPTY_TEXT = "text is empty or only whitespace"


class ModelError(Exception):
    """A model cannot be found, loaded or used any longer; the message is one line that names the model."""

    def __init__(self, model: str, reason: object) -> None:
        self.reason = " ".join(str(reason).split())
        super().__init__(f"model {model!r}: {self.reason}")


class Role(Enum):
    """What a text is to the search: some models put another prompt before a query than before a document."""

    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Encoded:
    """The answer to one call of `encode`, in the order of its texts."""

    vectors: Vectors
    """(n, dimension) float32, C-contiguous; the row of a text with an error is zero."""
    tokens: list[int]
    """Tokens that the model read of each text, special ones and prompts included; 0 where there is an error."""
    truncated: list[bool]
    """True where the text was longer than the model reads."""
    errors: list[str]
    """One line for each text, empty where its vector is good."""


class EmbeddingModel(Protocol):
    """Maps texts to vectors. One thread at a time may call `encode`; attributes never change."""

    @property
    def name(self) -> str:
        """The model as its user wrote it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides the vectors; vectors compare only if fingerprints are equal."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens that are read of a text; what comes after them is cut."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens that one call of `encode` computes well at once: larger calls gain nothing and hold up others."""
        ...

    def encode(self, texts: Sequence[str], role: Role) -> Encoded:
        """Vectors for `texts`. A text that breaks has an error; the others are answered all the same.

        Raises ModelError when the model as a whole has become unusable.
        """
        ...


def checked(vectors: Vectors, tokens: Sequence[int], truncated: Sequence[bool], errors: Sequence[str]) -> Encoded:
    """The answer with every row that is not finite, or is zero, turned into an error of its text.

    `vectors` is (n, dimension) float32; the other arguments have n entries.
    """
    rows: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    reasons = [error or _flaw(row) for error, row in zip(errors, rows, strict=True)]
    failed = np.array([reason != "" for reason in reasons], dtype=bool)
    if failed.any():
        rows = rows.copy()
        rows[failed] = 0.0
    return Encoded(
        vectors=rows,
        tokens=[0 if bad else int(count) for count, bad in zip(tokens, failed, strict=True)],
        truncated=[bool(cut) and not bad for cut, bad in zip(truncated, failed, strict=True)],
        errors=reasons,
    )


def _flaw(row: Vectors) -> str:
    if not np.isfinite(row).all():
        return "the model gave a vector with NaN or infinity"
    return "" if row.any() else "the model gave a vector of zeros"
