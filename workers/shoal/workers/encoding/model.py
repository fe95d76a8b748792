"""The interface of all embedding models, and the check that every vector passes before it is returned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.batching import BatchBounds, plan_batches
from shoal.workers.runtime import typed_error_line

Vectors = npt.NDArray[np.float32]
Isolated = tuple[Vectors, dict[int, str]]
"""The vectors of a batch, and by index the reasons why some texts have none."""
Run = Callable[[Callable[[Sequence[int]], Isolated], Sequence[Sequence[int]]], Iterable[Isolated]]

EMPTY_TEXT = "text is empty or only whitespace"
_NOT_FINITE = "the model gave a vector with NaN or infinity"
_ZEROS = "the model gave a vector of zeros"


def too_long(limit: int) -> str:
    """The error of a text that `Truncation.REFUSE` refuses."""
    return f"text is longer than the model's limit of {limit} tokens"


class ModelError(Exception):
    """A model cannot be found, loaded, or used any longer. The message is one line and names the model."""

    def __init__(self, model: str, reason: object) -> None:
        self.reason = " ".join(filter(None, (part.strip() for part in str(reason).splitlines())))
        super().__init__(f"model {model!r}: {self.reason}")


class Role(Enum):
    """The role of a text in search: some models have different prompts for queries and documents."""

    DOCUMENT = "document"
    QUERY = "query"


class DeviceLost(ModelError):
    """The device no longer computes in this process, for example after an illegal memory access on a GPU.

    The process must be restarted.
    """


class Truncation(Enum):
    """What happens to a text that is longer than the model's limit."""

    END = "end"
    """Its end is cut off."""
    START = "start"
    """Its start is cut off."""
    REFUSE = "refuse"
    """The text gets an error."""


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How to encode the texts of one call. Equal options give equal vectors."""

    role: Role = Role.DOCUMENT
    prompt: str | None = None
    """Put before each text instead of the role's prompt; None uses the role's prompt, "" none."""
    dimensions: int = 0
    """Keep only the first dimensions of each vector (Matryoshka), normalised again if vectors are; 0 keeps all."""
    normalize: bool | None = None
    """Whether vectors are scaled to unit length (L2); None follows the model's files."""
    truncation: Truncation = Truncation.END


AS_DOCUMENT = EncodeOptions()
AS_QUERY = EncodeOptions(role=Role.QUERY)


@dataclass(frozen=True, slots=True)
class Tokenized:
    """One text, tokenized by a model."""

    count: int
    """Tokens, including special tokens and prompt; 0 if there is an error."""
    truncated: bool = False
    error: str = ""
    """One line; a text with an error is never passed to `forward`."""
    content: Any = None
    """Private to the model: token ids, words, table rows."""


MODEL_RAISED = "the model failed: "
TOKENIZER_RAISED = "the tokenizer failed: "


def may_pass(error: str) -> bool:
    """Whether a text with this error may get a vector in another attempt: an exception may have had a passing cause."""
    return error.startswith((MODEL_RAISED, TOKENIZER_RAISED))


@dataclass(frozen=True, slots=True)
class Encoded:
    """The result of one call of `encode`, in the order of its texts."""

    vectors: Vectors
    """(n, dimension) float32, C-contiguous; the row of a text with an error is zero."""
    tokens: list[int]
    """Tokens of each text after truncation, including special tokens and prompt; 0 for a text with an error."""
    truncated: list[bool]
    """True for a text that was longer than the model's limit."""
    errors: list[str]
    """One line for each text, empty if it has a vector."""


class EmbeddingModel(ABC):
    """Maps texts to vectors in three steps: tokenize, forward, finish. Some threads tokenize while others compute.

    Attributes never change, except `bounds`, which may shrink when memory is short.
    """

    name: str
    """The model as the user wrote it."""
    fingerprint: str
    """Hex digest of everything that decides the vectors; vectors compare only if fingerprints are equal."""
    dimension: int
    """Length of a vector, unless `EncodeOptions.dimensions` asks for fewer."""
    max_tokens: int
    """Longer texts are truncated."""
    bounds: BatchBounds
    """A good batch size for `forward`: larger batches are no faster and delay other requests."""
    inference_threads: int = 1
    """How many threads may call `forward` at once."""
    device: str = "cpu"
    """Where the model computes; for people to read."""
    precision: str = "float32"
    """The number type in which the model computes, and why if it is not the requested one; for people to read."""
    probe_text: str = "Is this model fit to answer?"
    """A text that every working model has a vector for."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        """One entry for each text, in order; a text that cannot be tokenized has an error. Thread-safe."""

    def init_inference_thread(self) -> None:
        """Called once in each thread that will call `forward`, before its first call."""
        return

    @abstractmethod
    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        """Vectors (n, dimension) float32 as pooled, neither shortened nor normalised.

        Texts with different options may share a batch, and no text changes another's vector. Raises whatever the
        computation raises, for the whole batch, and ModelError when the model itself has become unusable.
        """

    @abstractmethod
    def finish(self, vectors: Vectors, options: EncodeOptions) -> Vectors:
        """Rows of `forward`, (n, dimension) float32, shortened to `options.dimensions` and normalised as requested."""

    def encode(self, texts: Sequence[str], options: EncodeOptions = AS_DOCUMENT) -> Encoded:
        """Vectors for `texts`, computed in the calling thread. A failing text gets an error, the others their vectors.

        Raises ModelError when the model itself has become unusable.
        """
        return self.encode_tokenized(self.tokenize(texts, options), options)

    def encode_tokenized(self, tokenized: Sequence[Tokenized], options: EncodeOptions, run: Run = map) -> Encoded:
        """The second half of `encode`. `run` calls a function with each batch, like `map`; it may use several threads.

        Raises ModelError when the model itself has become unusable.
        """
        vectors = np.zeros((len(tokenized), self.dimension), dtype=np.float32)
        errors = [text.error for text in tokenized]
        good = [row for row, error in enumerate(errors) if not error]
        plan = plan_batches([tokenized[row].count for row in good], self.bounds)
        batches = [[good[index] for index in indexes] for indexes in plan]
        computed = run(lambda rows: self.forward_isolated([tokenized[row] for row in rows]), batches)
        for rows, (found, failed) in zip(batches, computed, strict=True):
            vectors[rows] = found
            for index, reason in failed.items():
                errors[rows[index]] = reason
        counts, truncated = [text.count for text in tokenized], [text.truncated for text in tokenized]
        return checked(self.finish(vectors, options), counts, truncated, errors)

    def forward_isolated(self, batch: Sequence[Tokenized]) -> Isolated:
        """Rows (n, dimension) float32 of `forward`, and by index why some texts have none; their rows are zero.

        A failing batch is halved until each failing text is alone. Invalid rows (zero, NaN or infinite) are computed again
        without the others, in case another text of the batch caused them; a row that stays invalid is returned as it is.
        Raises ModelError.
        """
        whole = range(len(batch))
        try:
            vectors = self.forward(batch)
        except ModelError:
            raise
        except Exception as error:
            if len(batch) == 1:
                return np.zeros((1, self.dimension), dtype=np.float32), {0: f"{MODEL_RAISED}{typed_error_line(error)}"}
            vectors, suspects = np.zeros((len(batch), self.dimension), dtype=np.float32), list(whole)
        else:
            suspects = _invalid_rows(vectors)
            if not suspects or len(batch) == 1:
                return vectors, {}
            # The result of some models is read-only.
            vectors = np.array(vectors, dtype=np.float32)
        half = len(batch) // 2
        reasons: dict[int, str] = {}
        for indexes in [suspects] if len(suspects) < len(batch) else [whole[:half], whole[half:]]:
            rows, failed = self.forward_isolated([batch[index] for index in indexes])
            vectors[indexes] = rows
            reasons.update((indexes[position], reason) for position, reason in failed.items())
        return vectors, reasons


def shortened(vectors: Vectors, dimensions: int, normalize: bool) -> Vectors:
    """The first `dimensions` of each row (0 for all), scaled to unit length if `normalize`; a zero row stays zero."""
    if dimensions:
        vectors = vectors[:, :dimensions]
    if normalize:
        # Sums in float64 without a float64 copy: for 20,000 rows the copy took as long as computing them on a GPU.
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        vectors = vectors / np.where(norms == 0.0, 1.0, norms).astype(np.float32)[:, None]
    return np.ascontiguousarray(vectors, dtype=np.float32)


def checked(vectors: Vectors, tokens: Sequence[int], truncated: Sequence[bool], errors: Sequence[str]) -> Encoded:
    """The result, with an error for every row that is zero or not finite.

    `vectors` is (n, dimension) float32; the other arguments have n entries.
    """
    rows: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    reasons = list(errors)
    for row in _invalid_rows(rows):
        reasons[row] = reasons[row] or (_ZEROS if np.isfinite(rows[row]).all() else _NOT_FINITE)
    failed = [row for row, reason in enumerate(reasons) if reason]
    counts, cut = [int(count) for count in tokens], [bool(flag) for flag in truncated]
    if failed:
        rows = rows.copy()
        rows[failed] = 0.0
    for row in failed:
        counts[row], cut[row] = 0, False
    return Encoded(rows, counts, cut, reasons)


def _invalid_rows(vectors: Vectors) -> list[int]:
    """Indexes of the rows of (n, dimension) that are zero or have a value that is not finite."""
    return np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))).tolist()
