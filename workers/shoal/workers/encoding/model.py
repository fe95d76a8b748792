"""What every kind of embedding model offers, and the check that each vector passes before it leaves.

The models themselves live elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.batching import BatchBounds, plan_batches

Vectors = npt.NDArray[np.float32]
Isolated = tuple[Vectors, dict[int, str]]
"""Vectors of a batch, and by place the reasons of texts that have none."""
Run = Callable[[Callable[[Sequence[int]], Isolated], Sequence[Sequence[int]]], Iterable[Isolated]]

EMPTY_TEXT = "text is empty or only whitespace"
_NOT_FINITE = "the model gave a vector with NaN or infinity"
_ZEROS = "the model gave a vector of zeros"


def too_long(limit: int) -> str:
    """The error of a text that `Truncation.REFUSE` refuses."""
    return f"text is longer than the {limit} tokens that the model reads"


class ModelError(Exception):
    """A model cannot be found, loaded or used any longer; the message is one line that names the model."""

    def __init__(self, model: str, reason: object) -> None:
        self.reason = " ".join(str(reason).split())
        super().__init__(f"model {model!r}: {self.reason}")


class Role(Enum):
    """What a text is to the search: some models put another prompt before a query than before a document."""

    DOCUMENT = "document"
    QUERY = "query"


class DeviceLost(ModelError):
    """The device no longer computes in this process (an illegal access on a GPU, say); only a new process helps."""


class Truncation(Enum):
    """What becomes of a text that is longer than the model reads."""

    END = "end"
    """Its end is cut off."""
    START = "start"
    """Its start is cut off."""
    REFUSE = "refuse"
    """It is an error of that text."""


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How the texts of one call are to be encoded. Equal options give equal vectors."""

    role: Role = Role.DOCUMENT
    prompt: str | None = None
    """Put before each text in place of the role's own prompt; None takes that one, "" puts nothing."""
    dimensions: int = 0
    """Keep only so many leading places of each vector (Matryoshka), normalised again if vectors are; 0 keeps all."""
    normalize: bool | None = None
    """Vectors of unit length (L2) or as they come; None does as the model's files say."""
    truncation: Truncation = Truncation.END


AS_DOCUMENT = EncodeOptions()
AS_QUERY = EncodeOptions(role=Role.QUERY)


@dataclass(frozen=True, slots=True)
class Tokenized:
    """One text as a model reads it."""

    count: int
    """Tokens, special ones and prompts included; 0 where there is an error."""
    truncated: bool = False
    error: str = ""
    """One line; such a text is never given to `forward`."""
    content: Any = None
    """The model's own: token ids, words, table rows."""


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


class EmbeddingModel(ABC):
    """Maps texts to vectors in three steps, so that the first can go on in other threads while the second computes.

    The attributes never change, but for `bounds`, which may shrink when memory turns out to be short.
    """

    name: str
    """The model as its user wrote it."""
    fingerprint: str
    """Hex digest of all that decides the vectors; vectors compare only if fingerprints are equal."""
    dimension: int
    """Length of a vector, unless fewer `dimensions` are asked for."""
    max_tokens: int
    """Tokens that are read of a text; what comes after them is cut."""
    bounds: BatchBounds
    """What one call of `forward` computes well at once: larger calls gain nothing and hold up others."""
    lanes: int = 1
    """How many threads may be in `forward` at once."""
    device: str = "cpu"
    """Where the model computes; for people to read."""
    precision: str = "float32"
    """In what the model computes, and why if that is not what was asked for; for people to read."""
    probe_text: str = "Is this model fit to answer?"
    """A text that must have a vector if the model computes at all."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        """One entry for each text, in order; a text that breaks has an error. Any number of threads may call this."""

    def enter_lane(self) -> None:
        """Called once in each thread that will call `forward`, before its first call."""
        return

    @abstractmethod
    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        """Vectors (n, dimension) float32, as pooled: neither shortened nor normalised.

        Texts of any options may share a batch, and none changes another's vector. Raises what the computation raises, for
        the whole batch, and ModelError when the model as a whole has become unusable.
        """

    @abstractmethod
    def finish(self, vectors: Vectors, options: EncodeOptions) -> Vectors:
        """Rows of `forward`, (n, dimension) float32, shortened to `options.dimensions` and normalised as asked."""

    def encode(self, texts: Sequence[str], options: EncodeOptions = AS_DOCUMENT) -> Encoded:
        """Vectors for `texts`, all in the calling thread. A text that breaks has an error; the others are answered.

        Raises ModelError when the model as a whole has become unusable.
        """
        return self.encode_tokenized(self.tokenize(texts, options), options)

    def encode_tokenized(self, tokenized: Sequence[Tokenized], options: EncodeOptions, run: Run = map) -> Encoded:
        """The rest of `encode`. `run` calls a function with each batch, as `map` does; it may do so in several lanes.

        Raises ModelError when the model as a whole has become unusable.
        """
        vectors = np.zeros((len(tokenized), self.dimension), dtype=np.float32)
        errors = [text.error for text in tokenized]
        good = [row for row, error in enumerate(errors) if not error]
        plan = plan_batches([tokenized[row].count for row in good], self.bounds)
        batches = [[good[place] for place in places] for places in plan]
        computed = run(lambda rows: self.forward_isolated([tokenized[row] for row in rows]), batches)
        for rows, (found, failed) in zip(batches, computed, strict=True):
            vectors[rows] = found
            for place, reason in failed.items():
                errors[rows[place]] = reason
        counts, cuts = [text.count for text in tokenized], [text.truncated for text in tokenized]
        return checked(self.finish(vectors, options), counts, cuts, errors)

    def forward_isolated(self, batch: Sequence[Tokenized]) -> Isolated:
        """Rows (n, dimension) float32 of `forward`, and why the texts at some places have none: their rows are zero.

        A batch that fails is halved until each text that breaks stands alone. Flawed rows are computed again without
        the others, in case a neighbour is to blame; one that stays so is given as it came. Raises ModelError.
        """
        whole = range(len(batch))
        try:
            vectors = self.forward(batch)
        except ModelError:
            raise
        except Exception as error:
            if len(batch) == 1:
                return np.zeros((1, self.dimension), dtype=np.float32), {0: f"the model failed: {one_line(error)}"}
            vectors, suspects = np.zeros((len(batch), self.dimension), dtype=np.float32), list(whole)
        else:
            suspects = _flawed_rows(vectors)
            if not suspects or len(batch) == 1:
                return vectors, {}
            # Not every model lets its result be written to.
            vectors = np.array(vectors, dtype=np.float32)
        half = len(batch) // 2
        reasons: dict[int, str] = {}
        for places in [suspects] if len(suspects) < len(batch) else [whole[:half], whole[half:]]:
            rows, failed = self.forward_isolated([batch[place] for place in places])
            vectors[places] = rows
            reasons.update((places[place], reason) for place, reason in failed.items())
        return vectors, reasons


def one_line(error: BaseException) -> str:
    """Kind and message of an error as one line of bounded length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def shortened(vectors: Vectors, dimensions: int, normalize: bool) -> Vectors:
    """The first `dimensions` places of each row (0 for all), of unit length if `normalize`; a row of zeros stays."""
    if dimensions:
        vectors = vectors[:, :dimensions]
    if normalize:
        # Summed in float64 without a copy in it, which for 20,000 rows took as long as a GPU takes to compute them.
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        vectors = vectors / np.where(norms == 0.0, 1.0, norms).astype(np.float32)[:, None]
    return np.ascontiguousarray(vectors, dtype=np.float32)


def checked(vectors: Vectors, tokens: Sequence[int], truncated: Sequence[bool], errors: Sequence[str]) -> Encoded:
    """The answer with every row that is not finite, or is zero, turned into an error of its text.

    `vectors` is (n, dimension) float32; the other arguments have n entries.
    """
    rows: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    reasons = list(errors)
    for row in _flawed_rows(rows):
        reasons[row] = reasons[row] or (_ZEROS if np.isfinite(rows[row]).all() else _NOT_FINITE)
    failed = [row for row, reason in enumerate(reasons) if reason]
    counts, cuts = [int(count) for count in tokens], [bool(cut) for cut in truncated]
    if failed:
        rows = rows.copy()
        rows[failed] = 0.0
    for row in failed:
        counts[row], cuts[row] = 0, False
    return Encoded(rows, counts, cuts, reasons)


def _flawed_rows(vectors: Vectors) -> list[int]:
    """Places of the rows of (n, dimension) in which something is not finite, or all is zero."""
    return np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))).tolist()
