"""One thread that owns a model and serves waiting requests slice by slice. What comes next is the queue's decision;
how requests arrive is the service's."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum

import numpy as np

from shoal.workers.encoding.model import EmbeddingModel, Encoded, ModelError, Role
from shoal.workers.encoding.request_queue import Piece, QueuedRequest, QueueLimits, RequestQueue

_PROBE_TEXT = "Is this model fit to answer?"
_CHARACTERS_PER_TOKEN = 4


class EngineState(Enum):
    """Where the model of an engine stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class EngineUnavailable(Exception):
    """The model is still loading, or the engine was closed: another replica, or a later attempt, may answer."""


class DeadlineExpired(Exception):
    """The deadline passed before all of a request was encoded."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of an engine's model; the numbers are 0 until it is ready."""

    state: EngineState
    model: str
    fingerprint: str = ""
    dimension: int = 0
    max_tokens: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was waiting for."""

    encoded: Encoded
    fingerprint: str
    queue_s: float
    """Seconds from arrival to the start of its first slice."""
    infer_s: float
    """Seconds in which the model worked on slices with texts of this request."""


@dataclass(slots=True)
class _Open:
    """A request that was submitted and not answered. `order` is the order in which its texts are served."""

    texts: Sequence[str]
    order: Sequence[int]
    future: Future[Answer]
    arrived: float
    parts: list[Encoded]
    """Results of the texts at the first places of `order`."""
    done: int = 0
    started: float | None = None
    infer_s: float = 0.0


def estimated_tokens(text: str, most: int) -> int:
    """Tokens that a text will roughly have, at least 1, at most `most`, without a tokenizer.

    English has about four characters to a token; text outside ASCII may have one character to a token.
    """
    return min(most, 2 + (len(text) // _CHARACTERS_PER_TOKEN if text.isascii() else len(text)))


class EncoderEngine:
    """Loads a model in a thread of its own and encodes there what `submit` brings. All methods are thread-safe."""

    def __init__(
        self,
        model: str,
        load: Callable[[], EmbeddingModel],
        limits: QueueLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model` is the name to show while `load` runs; `load` is called once, in the engine's thread."""
        self._load = load
        self._clock = clock
        self._changed = threading.Condition()
        self._queue = RequestQueue(limits or QueueLimits())
        self._open: dict[int, _Open] = {}
        self._ids = itertools.count()
        self._description = Description(EngineState.LOADING, model)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="shoal-encoder", daemon=True)

    def start(self) -> None:
        """Begins to load the model; returns at once."""
        self._thread.start()

    def describe(self) -> Description:
        """The model and its state, without waiting for anything."""
        return self._description

    def submit(self, texts: Sequence[str], role: Role, timeout_s: float = math.inf) -> Future[Answer]:
        """Queues texts; cancelling the future drops those not yet encoded.

        The future raises DeadlineExpired after `timeout_s`, EngineUnavailable when the engine closes, ModelError when
        the model breaks. Raises EngineUnavailable while the model loads, ModelError when it failed to load, QueueFull
        when too much waits, ValueError when there are no texts.
        """
        if not texts:
            raise ValueError("texts is empty, the least is 1")
        description = self._description
        costs = [estimated_tokens(text, max(1, description.max_tokens)) for text in texts]
        # Alike lengths side by side: a slice is then padded little, however the request mixes them.
        order = sorted(range(len(texts)), key=lambda index: (-costs[index], index))
        future: Future[Answer] = Future()
        with self._changed:
            self._refuse_unless_ready()
            request_id, now = next(self._ids), self._clock()
            characters = sum(len(text) for text in texts)
            self._queue.add(QueuedRequest(request_id, role, [costs[i] for i in order], characters, now + timeout_s))
            self._open[request_id] = _Open(texts, order, future, arrived=now, parts=[])
            self._changed.notify()
        future.add_done_callback(lambda done: self._forget(request_id) if done.cancelled() else None)
        return future

    def close(self, timeout_s: float = 10.0) -> None:
        """Fails what waits and ends the thread; waits at most `timeout_s` for the slice in progress, or for loading."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._fail_all(EngineUnavailable(f"the encoder of model {self._description.model!r} was closed"))

    def _refuse_unless_ready(self) -> None:
        description = self._description
        if self._closed:
            raise EngineUnavailable(f"the encoder of model {description.model!r} was closed")
        if description.state is EngineState.LOADING:
            raise EngineUnavailable(f"model {description.model!r} is loading")
        if description.state is EngineState.FAILED:
            raise ModelError(description.model, description.error)

    def _forget(self, request_id: int) -> _Open | None:
        with self._changed:
            self._queue.drop(request_id)
            return self._open.pop(request_id, None)

    def _run(self) -> None:
        name = self._description.model
        try:
            model = self._load()
            probe = model.encode([_PROBE_TEXT], Role.DOCUMENT)
            if probe.errors[0]:
                raise ModelError(name, f"a first text failed: {probe.errors[0]}")
        except Exception as error:
            self._fail(_reason(error))
            return
        self._description = Description(
            EngineState.READY, name, fingerprint=model.fingerprint, dimension=model.dimension, max_tokens=model.max_tokens
        )
        while slice_ := self._next_slice(model.batch_tokens):
            role, pieces = slice_
            try:
                self._encode(model, role, pieces)
            except ModelError as error:
                self._fail(_reason(error))
                return
            except Exception as error:
                # Models answer for each text; what still escapes is a fault of ours, and the next slice deserves its chance.
                for piece in pieces:
                    self._settle(piece.id, error)

    def _next_slice(self, token_budget: int) -> tuple[Role, list[Piece]] | None:
        """Waits for work; None when the engine was closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._queue) > 0)
                if self._closed:
                    return None
                expired = self._queue.drop_expired(self._clock())
                slice_ = self._queue.take(token_budget)
            for request_id in expired:
                self._settle(request_id, DeadlineExpired("the deadline passed before the texts were encoded"))
            if slice_ is not None:
                return slice_

    def _encode(self, model: EmbeddingModel, role: Role, pieces: Sequence[Piece]) -> None:
        with self._changed:
            # A request that was cancelled since it was taken is not worked on.
            work = [(piece, self._open[piece.id]) for piece in pieces if piece.id in self._open]
        texts = [request.texts[index] for piece, request in work for index in request.order[piece.start : piece.stop]]
        if not texts:
            return
        began = self._clock()
        encoded = model.encode(texts, role)
        spent = self._clock() - began
        offset = 0
        for piece, request in work:
            count = piece.stop - piece.start
            request.parts.append(_rows(encoded, slice(offset, offset + count)))
            offset += count
            request.done += count
            request.infer_s += spent
            if request.started is None:
                request.started = began
            if request.done == len(request.texts):
                queue_s = request.started - request.arrived
                self._settle(piece.id, Answer(_joined(request), model.fingerprint, queue_s, request.infer_s))

    def _settle(self, request_id: int, outcome: Answer | Exception) -> None:
        request = self._forget(request_id)
        # The future may be cancelled at any moment; only once it is marked as running is that ruled out.
        if request is None or not request.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)

    def _fail(self, reason: str) -> None:
        with self._changed:
            self._description = Description(EngineState.FAILED, self._description.model, error=reason)
        self._fail_all(ModelError(self._description.model, reason))

    def _fail_all(self, error: Exception) -> None:
        with self._changed:
            waiting = list(self._open)
        for request_id in waiting:
            self._settle(request_id, error)


def _rows(encoded: Encoded, rows: slice) -> Encoded:
    return Encoded(encoded.vectors[rows], encoded.tokens[rows], encoded.truncated[rows], encoded.errors[rows])


def _joined(request: _Open) -> Encoded:
    """The parts of a request put together, in the order of its texts."""
    served = np.concatenate([part.vectors for part in request.parts])
    places = np.argsort(np.asarray(request.order), kind="stable")
    tokens = [count for part in request.parts for count in part.tokens]
    truncated = [cut for part in request.parts for cut in part.truncated]
    errors = [error for part in request.parts for error in part.errors]
    return Encoded(
        vectors=np.ascontiguousarray(served[places]),
        tokens=[tokens[place] for place in places],
        truncated=[truncated[place] for place in places],
        errors=[errors[place] for place in places],
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ModelError):
        return error.reason
    return " ".join(f"{type(error).__name__}: {error}".split())
