"""A model whose batches wait for the test, and an engine that runs it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

import numpy as np

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.engine.engine import EncoderEngine
from shoal.workers.encoding.model import (
    EmbeddingModel,
    EncodeOptions,
    Tokenized,
    Vectors,
)

WAIT_S = 10.0


class SteppedModel(EmbeddingModel):
    """Encodes a text of n letters as [n, 1] from n tokens, and each batch only when the test lets it."""

    name, fingerprint, dimension, max_tokens, bounds = "stepped", "f00d", 2, 100, BatchBounds(100)
    device, precision = "abacus", "float3"

    def __init__(self, inference_threads: int = 1) -> None:
        self.inference_threads = inference_threads
        self.batches: list[list[str]] = []
        self.read: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.permits = threading.Semaphore(1)
        self.inference_thread_names: list[str] = []
        self.forward_threads: set[str] = set()
        self.failure: Exception | None = None

    def init_inference_thread(self) -> None:
        self.inference_thread_names.append(threading.current_thread().name)

    def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        self.read.append(list(texts))
        if "unreadable" in texts:
            raise KeyError("no such letter")
        return [Tokenized(len(text), content=text) if text else Tokenized(0, error="empty") for text in texts]

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        self.forward_threads.add(threading.current_thread().name)
        self.entered.release()
        assert self.permits.acquire(timeout=WAIT_S)
        texts = [text.content for text in batch]
        self.batches.append(texts)
        if self.failure is not None:
            raise self.failure
        if "poison" in texts:
            raise ValueError("poison")
        return np.array([[math.nan if text == "nan" else len(text), 1] for text in texts], dtype=np.float32)

    def finish(self, vectors: Vectors, options: EncodeOptions) -> Vectors:
        return vectors[:, : options.dimensions or 2]

    def served(self) -> list[list[str]]:
        """The batches after the engine's own probe."""
        return self.batches[1:]


Starter = Callable[..., EncoderEngine]


def wait_for(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1000):
        if condition():
            return
        waiting.wait(WAIT_S / 1000)
    raise AssertionError("the condition did not come about")


def run(model: SteppedModel, batches: int) -> None:
    model.permits.release(batches)


def entered(model: SteppedModel) -> None:
    """Waits until an inference thread is in the model."""
    assert model.entered.acquire(timeout=WAIT_S)


def all_read(engine: EncoderEngine, tokens: int) -> None:
    """Waits until all texts are tokenized, with this many tokens including the batch in progress; estimates must differ."""
    wait_for(lambda: engine.load().waiting_tokens == tokens)
