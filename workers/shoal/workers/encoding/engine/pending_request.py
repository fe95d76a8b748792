"""A request that waits for its answer: it collects the tokenized texts, then the vectors. No lock, no thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from shoal.workers.encoding.model import EmbeddingModel, Encoded, EncodeOptions, Tokenized, Vectors, checked


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one request."""

    encoded: Encoded
    fingerprint: str
    tokenize_s: float
    """Seconds spent tokenizing its texts, summed over threads."""
    queue_s: float
    """Seconds from arrival to its first batch, minus the time in which its first texts were tokenized."""
    infer_s: float
    """Seconds in which the model computed batches with texts of this request, summed over inference threads."""


class PendingRequest:
    """The texts of one request. Each distinct text is computed once; indexes count the distinct texts."""

    def __init__(self, texts: Sequence[str], options: EncodeOptions, dimension: int, arrived: float) -> None:
        """`texts` has at least one entry; `arrived` is a time on the engine's clock, in seconds."""
        indexes = {text: index for index, text in enumerate(dict.fromkeys(texts))} if len(texts) > 1 else {texts[0]: 0}
        self.texts = list(indexes)
        self.options = options
        self.arrived = arrived
        self.future: Future[Answer] = Future()
        self.unfinished = len(self.texts)
        self._rows = None if len(indexes) == len(texts) else [indexes[text] for text in texts]
        self._tokenized: list[Tokenized | None] = [None] * len(self.texts)
        self._counts = [0] * len(self.texts)
        self._truncated = [False] * len(self.texts)
        self._errors = [""] * len(self.texts)
        self._vectors: Vectors = np.zeros((len(self.texts), dimension), dtype=np.float32)
        self._tokenize_s = self._queue_s = self._infer_s = 0.0
        self._first_tokenized: float | None = None
        self._computing = False

    def add_tokenized(self, start: int, tokenized: Sequence[Tokenized], began: float, ended: float) -> list[int]:
        """Adds the tokenized texts from index `start` on; returns the token count of each, 0 for an error."""
        for index, text in enumerate(tokenized, start):
            self._counts[index], self._truncated[index], self._errors[index] = text.count, text.truncated, text.error
            if text.error:
                self.unfinished -= 1
            else:
                self._tokenized[index] = text
        self._tokenize_s += ended - began
        if self._first_tokenized is None:
            self._first_tokenized = ended
            self._queue_s = began - self.arrived
        return [0 if text.error else text.count for text in tokenized]

    def pop_tokenized(self, index: int, now: float) -> Tokenized:
        """Hands out the tokenized text at `index`, once, for a batch that begins `now`.

        Raises RuntimeError when the text is not tokenized yet or was handed out before.
        """
        if not self._computing and self._first_tokenized is not None:
            self._computing = True
            self._queue_s += max(0.0, now - self._first_tokenized)
        text, self._tokenized[index] = self._tokenized[index], None
        if text is None:
            raise RuntimeError(f"the text at index {index} is not tokenized, or was handed out before")
        return text

    def add_vectors(self, indexes: Sequence[int], vectors: Vectors, failed: Mapping[int, str], spent: float) -> None:
        """Adds the vectors (n, dimension) of the texts at n `indexes`; the model computed their batch for `spent` seconds.

        `failed` maps positions 0 to n - 1 to the reason why that text has no vector.
        """
        self._vectors[indexes] = vectors
        for position, reason in failed.items():
            self._errors[indexes[position]] = reason
        self._infer_s += spent
        self.unfinished -= len(indexes)

    def answer(self, model: EmbeddingModel) -> Answer:
        """The answer, once nothing is unfinished."""
        encoded = checked(model.finish(self._vectors, self.options), self._counts, self._truncated, self._errors)
        if self._rows is not None:
            encoded = Encoded(
                encoded.vectors[self._rows],
                [encoded.tokens[row] for row in self._rows],
                [encoded.truncated[row] for row in self._rows],
                [encoded.errors[row] for row in self._rows],
            )
        return Answer(encoded, model.fingerprint, self._tokenize_s, self._queue_s, self._infer_s)
