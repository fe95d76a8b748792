"""A call that waits for its answer: its texts as they are read, and its vectors as they come. It holds no lock and no
thread; the engine says when what happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from shoal.workers.encoding.model import EmbeddingModel, Encoded, EncodeOptions, Tokenized, Vectors, checked


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was waiting for."""

    encoded: Encoded
    fingerprint: str
    tokenize_s: float
    """Seconds in which its texts were read, summed over threads."""
    queue_s: float
    """Seconds from arrival to its first batch, without those in which its first texts were read."""
    infer_s: float
    """Seconds in which the model worked on batches with texts of this call, summed over lanes."""


class OpenRequest:
    """Texts that were asked for at once; each distinct text is computed once. Places count the distinct texts."""

    def __init__(self, texts: Sequence[str], options: EncodeOptions, dimension: int, arrived: float) -> None:
        """`texts` has at least one entry; `arrived` is a time on the engine's clock."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))} if len(texts) > 1 else {texts[0]: 0}
        self.texts = list(places)
        self.options = options
        self.arrived = arrived
        self.future: Future[Answer] = Future()
        self.unfinished = len(self.texts)
        self._rows = None if len(places) == len(texts) else [places[text] for text in texts]
        self._read: list[Tokenized | None] = [None] * len(self.texts)
        self._counts = [0] * len(self.texts)
        self._cuts = [False] * len(self.texts)
        self._errors = [""] * len(self.texts)
        self._vectors: Vectors = np.zeros((len(self.texts), dimension), dtype=np.float32)
        self._tokenize_s = self._queue_s = self._infer_s = 0.0
        self._first_read: float | None = None
        self._computing = False

    def take_read(self, start: int, read: Sequence[Tokenized], began: float, ended: float) -> list[int]:
        """Takes what the tokenizer made of the texts from place `start` on; returns their tokens, 0 for an error."""
        for place, text in enumerate(read, start):
            self._counts[place], self._cuts[place], self._errors[place] = text.count, text.truncated, text.error
            if text.error:
                self.unfinished -= 1
            else:
                self._read[place] = text
        self._tokenize_s += ended - began
        if self._first_read is None:
            self._first_read = ended
            self._queue_s = began - self.arrived
        return [0 if text.error else text.count for text in read]

    def give_read(self, place: int, now: float) -> Tokenized:
        """What the tokenizer made of a text, for a batch that begins `now`; it is given once."""
        if not self._computing and self._first_read is not None:
            self._computing = True
            self._queue_s += max(0.0, now - self._first_read)
        text, self._read[place] = self._read[place], None
        if text is None:
            raise RuntimeError(f"the text at place {place} was not read, or was given before")
        return text

    def take_vectors(self, places: Sequence[int], vectors: Vectors, failed: Mapping[int, str], spent: float) -> None:
        """Takes the rows of a batch, (n, dimension) for n places, in which the model worked for `spent` seconds.

        `failed` holds the reasons of those of the n that have no vector.
        """
        self._vectors[places] = vectors
        for row, reason in failed.items():
            self._errors[places[row]] = reason
        self._infer_s += spent
        self.unfinished -= len(places)

    def answer(self, model: EmbeddingModel) -> Answer:
        """The answer, once nothing is unfinished."""
        encoded = checked(model.finish(self._vectors, self.options), self._counts, self._cuts, self._errors)
        if self._rows is not None:
            encoded = Encoded(
                encoded.vectors[self._rows],
                [encoded.tokens[row] for row in self._rows],
                [encoded.truncated[row] for row in self._rows],
                [encoded.errors[row] for row in self._rows],
            )
        return Answer(encoded, model.fingerprint, self._tokenize_s, self._queue_s, self._infer_s)
