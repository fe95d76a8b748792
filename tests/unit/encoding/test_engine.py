from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from shoal.workers.encoding.engine import (
    Answer,
    DeadlineExpired,
    EncoderEngine,
    EngineState,
    EngineUnavailable,
    estimated_tokens,
)
from shoal.workers.encoding.model import Encoded, ModelError, Role, checked
from shoal.workers.encoding.request_queue import QueueFull, QueueLimits

WAIT_S = 10.0


class SteppedModel:
    """Encodes a text as [its length, 1], and each call only when the test lets it."""

    name, fingerprint, dimension, max_tokens, batch_tokens = "stepped", "f00d", 2, 100, 30

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], Role]] = []
        self.entered = threading.Semaphore(0)
        self.permits = threading.Semaphore(1)
        self.failure: Exception | None = None

    def encode(self, texts: Sequence[str], role: Role) -> Encoded:
        self.entered.release()
        assert self.permits.acquire(timeout=WAIT_S)
        self.calls.append((list(texts), role))
        if self.failure is not None:
            raise self.failure
        vectors = np.array([[len(text), 1] for text in texts], dtype=np.float32)
        errors = ["poison" if "poison" in text else "" for text in texts]
        return checked(vectors, [len(text) for text in texts], [False] * len(texts), errors)

    def served(self) -> list[tuple[list[str], Role]]:
        """The calls after the engine's own probe."""
        return self.calls[1:]


@pytest.fixture
def model() -> SteppedModel:
    return SteppedModel()


Starter = Callable[..., EncoderEngine]


@pytest.fixture
def start(model: SteppedModel) -> Iterator[Starter]:
    """Starts engines that are ready; a call of theirs then needs a permit."""
    engines: list[EncoderEngine] = []

    def starter(limits: QueueLimits | None = None, clock: Callable[[], float] = lambda: 0.0) -> EncoderEngine:
        engine = EncoderEngine("stepped", lambda: model, limits, clock)
        engines.append(engine)
        engine.start()
        assert model.entered.acquire(timeout=WAIT_S)
        wait_for(lambda: engine.describe().state is not EngineState.LOADING)
        return engine

    yield starter
    model.permits.release(1000)
    for engine in engines:
        engine.close(WAIT_S)


def wait_for(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1000):
        if condition():
            return
        waiting.wait(WAIT_S / 1000)
    raise AssertionError("the condition did not come about")


def run(model: SteppedModel, slices: int) -> None:
    model.permits.release(slices)


def test_answers_are_in_the_order_of_the_texts_though_long_ones_go_first(start: Starter, model: SteppedModel) -> None:
    engine = start()
    texts = ["a" * length for length in (5, 90, 1, 40, 40, 12)]
    future = engine.submit(texts, Role.DOCUMENT)
    run(model, 10)
    answer = future.result(WAIT_S)
    assert answer.encoded.vectors.tolist() == [[len(text), 1] for text in texts]
    assert answer.encoded.tokens == [len(text) for text in texts]
    assert answer.fingerprint == "f00d"
    served = [len(text) for texts, _ in model.served() for text in texts]
    assert served == sorted(served, reverse=True)
    assert len(model.served()) > 1


def test_a_query_overtakes_the_slices_of_a_large_document_request(start: Starter, model: SteppedModel) -> None:
    engine = start()
    documents = engine.submit(["d" * 100] * 4, Role.DOCUMENT)
    assert model.entered.acquire(timeout=WAIT_S)
    query = engine.submit(["query"], Role.QUERY)
    run(model, 2)
    assert query.result(WAIT_S).encoded.errors == [""]
    assert not documents.done()
    assert [role for _, role in model.served()] == [Role.DOCUMENT, Role.QUERY]
    run(model, 3)
    assert len(documents.result(WAIT_S).encoded.errors) == 4


def test_requests_that_gather_while_the_model_is_busy_share_a_call(start: Starter, model: SteppedModel) -> None:
    engine = start()
    first = engine.submit(["first"], Role.QUERY)
    assert model.entered.acquire(timeout=WAIT_S)
    gathered = [engine.submit([f"q{number}"], Role.QUERY) for number in range(5)]
    run(model, 2)
    assert [future.result(WAIT_S).encoded.tokens for future in [first, *gathered]] == [[5]] + [[2]] * 5
    assert [len(texts) for texts, _ in model.served()] == [1, 5]


def test_a_poison_text_leaves_its_neighbours_alone(start: Starter, model: SteppedModel) -> None:
    engine = start()
    future = engine.submit(["good", "poison", "fine"], Role.DOCUMENT)
    run(model, 1)
    assert future.result(WAIT_S).encoded.errors == ["", "poison", ""]


def test_a_cancelled_request_is_dropped_from_the_queue(start: Starter, model: SteppedModel) -> None:
    engine = start()
    busy = engine.submit(["busy"], Role.QUERY)
    assert model.entered.acquire(timeout=WAIT_S)
    cancelled = engine.submit(["never"], Role.QUERY)
    last = engine.submit(["last"], Role.QUERY)
    assert cancelled.cancel()
    run(model, 5)
    assert [future.result(WAIT_S).encoded.errors for future in (busy, last)] == [[""], [""]]
    assert ["never"] not in [texts for texts, _ in model.served()]
    with pytest.raises(CancelledError):
        cancelled.result(0)


def test_cancelling_what_is_being_encoded_spares_its_later_slices(start: Starter, model: SteppedModel) -> None:
    engine = start()
    large = engine.submit(["d" * 100] * 50, Role.DOCUMENT)
    assert model.entered.acquire(timeout=WAIT_S)
    assert large.cancel()
    after = engine.submit(["after"], Role.DOCUMENT)
    run(model, 2)
    assert after.result(WAIT_S).encoded.tokens == [5]
    assert len(model.served()) == 2


def test_a_request_past_its_deadline_fails_without_being_encoded(start: Starter, model: SteppedModel) -> None:
    now = 0.0
    engine = start(clock=lambda: now)
    busy = engine.submit(["busy"], Role.QUERY)
    assert model.entered.acquire(timeout=WAIT_S)
    late = engine.submit(["late"], Role.QUERY, timeout_s=5.0)
    now = 5.0
    run(model, 2)
    busy.result(WAIT_S)
    with pytest.raises(DeadlineExpired, match="the deadline passed before the texts were encoded"):
        late.result(WAIT_S)
    assert [texts for texts, _ in model.served()] == [["busy"]]


def test_waiting_and_working_are_told_apart(start: Starter, model: SteppedModel) -> None:
    now = 10.0
    engine = start(clock=lambda: now)
    busy = engine.submit(["busy"], Role.QUERY)
    assert model.entered.acquire(timeout=WAIT_S)
    waiting = engine.submit(["waiting"], Role.QUERY)
    now = 13.0
    run(model, 2)
    assert (busy.result(WAIT_S).queue_s, busy.result().infer_s) == (0.0, 3.0)
    assert (waiting.result(WAIT_S).queue_s, waiting.result().infer_s) == (3.0, 0.0)


def test_a_full_queue_refuses_at_once(start: Starter, model: SteppedModel) -> None:
    engine = start(QueueLimits(tokens=50))
    futures = [engine.submit(["busy"], Role.DOCUMENT)]
    assert model.entered.acquire(timeout=WAIT_S)
    futures.append(engine.submit(["d" * 150], Role.DOCUMENT))
    with pytest.raises(QueueFull):
        engine.submit(["d" * 150], Role.DOCUMENT)
    run(model, 5)
    assert all(future.result(WAIT_S).encoded.errors == [""] for future in futures)


def test_closing_fails_what_waits_and_refuses_what_comes(start: Starter, model: SteppedModel) -> None:
    engine = start()
    begun = engine.submit(["d" * 100] * 3, Role.DOCUMENT)
    assert model.entered.acquire(timeout=WAIT_S)
    waiting = [begun, engine.submit(["q"], Role.QUERY)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_for(lambda: _refuses(engine))
    run(model, 1)
    closing.join(WAIT_S)
    for future in waiting:
        with pytest.raises(EngineUnavailable, match="was closed"):
            future.result(WAIT_S)
    assert not any(thread.name == "shoal-encoder" for thread in threading.enumerate())


def _refuses(engine: EncoderEngine) -> bool:
    try:
        engine.submit(["x"], Role.DOCUMENT).cancel()
    except EngineUnavailable:
        return True
    return False


def test_a_model_that_breaks_down_fails_the_engine(start: Starter, model: SteppedModel) -> None:
    engine = start()
    model.failure = ModelError("stepped", "the GPU no longer answers")
    futures: list[Future[Answer]] = [engine.submit(["d" * 100] * 3, Role.DOCUMENT), engine.submit(["x"], Role.DOCUMENT)]
    run(model, 1)
    for future in futures:
        with pytest.raises(ModelError, match="the GPU no longer answers"):
            future.result(WAIT_S)
    assert engine.describe().state is EngineState.FAILED
    with pytest.raises(ModelError, match="model 'stepped': the GPU no longer answers"):
        engine.submit(["x"], Role.DOCUMENT)


def test_a_fault_in_one_slice_does_not_end_the_engine(start: Starter, model: SteppedModel) -> None:
    engine = start()
    model.failure = KeyError("a fault of ours")
    broken = engine.submit(["x"], Role.DOCUMENT)
    run(model, 1)
    with pytest.raises(KeyError):
        broken.result(WAIT_S)
    model.failure = None
    run(model, 1)
    assert engine.submit(["y"], Role.DOCUMENT).result(WAIT_S).encoded.errors == [""]


def test_while_loading_requests_are_refused_and_the_model_is_described() -> None:
    proceed = threading.Event()

    def load() -> SteppedModel:
        proceed.wait(WAIT_S)
        return SteppedModel()

    engine = EncoderEngine("slow", load)
    engine.start()
    assert (engine.describe().state, engine.describe().model) == (EngineState.LOADING, "slow")
    with pytest.raises(EngineUnavailable, match="model 'slow' is loading"):
        engine.submit(["x"], Role.QUERY)
    proceed.set()
    wait_for(lambda: engine.describe().state is EngineState.READY)
    assert (engine.describe().dimension, engine.describe().max_tokens) == (2, 100)
    engine.close(WAIT_S)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ModelError("bad", "there is no such folder"), "there is no such folder"),
        (OSError("disk\nbroken"), "OSError: disk broken"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_described_with_its_reason(failure: Exception, reason: str) -> None:
    def load() -> SteppedModel:
        raise failure

    engine = EncoderEngine("bad", load)
    engine.start()
    wait_for(lambda: engine.describe().state is EngineState.FAILED)
    assert engine.describe().error == reason
    with pytest.raises(ModelError, match=f"model 'bad': {reason}"):
        engine.submit(["x"], Role.QUERY)
    engine.close(WAIT_S)


def test_a_model_that_gives_no_good_vector_is_not_ready() -> None:
    class NaNModel(SteppedModel):
        def encode(self, texts: Sequence[str], role: Role) -> Encoded:
            return checked(np.full((len(texts), 2), math.nan, dtype=np.float32), [1], [False], [""])

    engine = EncoderEngine("nan", NaNModel)
    engine.start()
    wait_for(lambda: engine.describe().state is EngineState.FAILED)
    assert engine.describe().error == "a first text failed: the model gave a vector with NaN or infinity"
    engine.close(WAIT_S)


def test_no_texts_are_refused(start: Starter) -> None:
    with pytest.raises(ValueError, match="texts is empty"):
        start().submit([], Role.QUERY)


def test_tokens_are_estimated_from_the_script_and_capped() -> None:
    assert estimated_tokens("", 512) == 2
    assert estimated_tokens("a" * 400, 512) == 102
    assert estimated_tokens("語" * 400, 512) == 402
    assert estimated_tokens("a" * 10**6, 512) == 512
