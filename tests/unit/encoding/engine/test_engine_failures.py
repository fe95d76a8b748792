"""What an engine does when requests end early, models break, and devices are lost."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from shoal.workers.encoding.engine.engine import EncoderEngine, EngineState, EngineUnavailable, Progress
from shoal.workers.encoding.engine.pending_request import Answer
from shoal.workers.encoding.engine.scheduler import Priority, QueueFull, QueueLimits
from shoal.workers.encoding.engine.watchdog import StallLimits
from shoal.workers.encoding.engine.work_queue import DeadlineExpired, EngineLoad, WorkQueue, estimated_tokens
from shoal.workers.encoding.model import (
    AS_DOCUMENT,
    AS_QUERY,
    DeviceLost,
    EncodeOptions,
    ModelError,
    Tokenized,
    Vectors,
)
from unit.encoding.engine.stepped_engine import WAIT_S, Starter, SteppedModel, all_read, entered, run, wait_for


def test_a_cancelled_request_is_dropped_before_the_model_sees_it(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    busy = engine.submit(["busy"], AS_QUERY)
    entered(model)
    cancelled = engine.submit(["never"], AS_QUERY)
    last = engine.submit(["last"], AS_QUERY)
    all_read(engine, 4 + 5 + 4)
    assert cancelled.cancel()
    run(model, 5)
    assert [future.result(WAIT_S).encoded.errors for future in (busy, last)] == [[""], [""]]
    assert model.served() == [["busy"], ["last"]]
    with pytest.raises(CancelledError):
        cancelled.result(0)


def test_cancelling_what_is_being_encoded_spares_its_later_batches(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    large = engine.submit([f"{number:0100}" for number in range(50)])
    entered(model)
    assert large.cancel()
    after = engine.submit(["after"])
    run(model, 2)
    assert after.result(WAIT_S).encoded.tokens == [5]
    assert len(model.served()) == 2


def test_a_request_past_its_deadline_fails_without_being_computed(start: Starter, model: SteppedModel) -> None:
    now = 0.0
    engine = start(model, clock=lambda: now)
    busy = engine.submit(["busy"], AS_QUERY)
    entered(model)
    late = engine.submit(["late"], AS_QUERY, timeout_s=5.0)
    all_read(engine, 4 + 4)
    now = 5.0
    run(model, 2)
    busy.result(WAIT_S)
    with pytest.raises(DeadlineExpired, match="the deadline passed before the texts were encoded"):
        late.result(WAIT_S)
    assert model.served() == [["busy"]]


def test_tokenize_queue_and_inference_times_are_separate(start: Starter) -> None:
    now = 10.0

    class SlowReader(SteppedModel):
        def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
            nonlocal now
            now += 0.25
            return super().tokenize(texts, options)

    model = SlowReader()
    engine = start(model, clock=lambda: now)
    busy = engine.submit(["busy"], AS_QUERY)
    entered(model)
    waiting = engine.submit(["waiting"], AS_QUERY)
    all_read(engine, 4 + 7)
    now += 3.0
    run(model, 2)
    first, second = busy.result(WAIT_S), waiting.result(WAIT_S)
    assert (first.tokenize_s, first.queue_s, first.infer_s) == (0.25, 0.0, 3.25)
    assert (second.tokenize_s, second.queue_s, second.infer_s) == (0.25, 3.0, 0.0)


def test_the_load_is_reported(start: Starter, model: SteppedModel) -> None:
    now = 0.0
    engine = start(model, clock=lambda: now)
    assert engine.load() == EngineLoad(inference_threads=1)
    first = engine.submit(["a" * 60, "b" * 60])
    entered(model)
    second = engine.submit(["c" * 30])
    all_read(engine, 150)
    now = 2.0
    load = engine.load()
    assert (load.waiting_texts, load.waiting_tokens, load.oldest_s) == (3, 150, 2.0)
    run(model, 2)
    assert [future.result(WAIT_S).encoded.errors for future in (first, second)] == [["", ""], [""]]
    wait_for(lambda: engine.load().texts == 3)
    assert engine.load() == EngineLoad(texts=3, tokens=150, batches=2, busy_s=2.0, inference_threads=1)


def test_a_full_queue_refuses_at_once(start: Starter, model: SteppedModel) -> None:
    engine = start(model, QueueLimits(tokens=50))
    futures = [engine.submit(["busy"])]
    entered(model)
    futures.append(engine.submit(["d" * 90]))
    with pytest.raises(QueueFull):
        engine.submit(["e" * 150])
    run(model, 5)
    assert all(future.result(WAIT_S).encoded.errors == [""] for future in futures)


def test_closing_fails_waiting_requests_and_refuses_new_ones(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    begun = engine.submit(["d" * 100, "e" * 100, "f" * 100])
    entered(model)
    waiting = [begun, engine.submit(["q"], AS_QUERY)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_for(lambda: _let_in(engine) is None)
    with pytest.raises(EngineUnavailable, match="was closed"):
        engine.submit(["x"])
    run(model, 1)
    closing.join(WAIT_S)
    for future in waiting:
        with pytest.raises(EngineUnavailable, match="was closed"):
            future.result(WAIT_S)
    assert not any(thread.name.startswith("shoal-encoder") for thread in threading.enumerate())


def _let_in(engine: EncoderEngine) -> Future[Answer] | None:
    # Asks the work queue: the engine refuses a moment earlier, when an inference thread could still begin a batch.
    assert engine._work_queue is not None
    future = engine._work_queue.submit(["x"], AS_DOCUMENT, Priority.LIVE, math.inf)
    if future is not None:
        future.cancel()
    return future


def test_a_model_that_breaks_down_fails_the_engine(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    model.failure = ModelError("stepped", "the weights are gone")
    futures: list[Future[Answer]] = [engine.submit(["d" * 100, "e" * 100]), engine.submit(["x"])]
    run(model, 1)
    for future in futures:
        with pytest.raises(ModelError, match="the weights are gone"):
            future.result(WAIT_S)
    assert engine.describe().state is EngineState.FAILED
    with pytest.raises(ModelError, match="model 'stepped': the weights are gone"):
        engine.submit(["x"])


def test_a_lost_device_is_reported_before_any_call_fails(start: Starter, model: SteppedModel) -> None:
    reported: list[tuple[str, bool]] = []
    engine = start(model, on_lost=lambda reason: reported.append((reason, future.done())))
    model.failure = DeviceLost("stepped", "the GPU no longer answers")
    future = engine.submit(["x"])
    run(model, 1)
    with pytest.raises(EngineUnavailable, match="model 'stepped': the GPU no longer answers"):
        future.result(WAIT_S)
    assert reported == [("the GPU no longer answers", False)]
    assert (engine.describe().state, engine.describe().error) == (EngineState.FAILED, "the GPU no longer answers")
    with pytest.raises(EngineUnavailable, match="the GPU no longer answers"):
        engine.submit(["x"])


def test_a_batch_that_does_not_end_is_reported(start: Starter, model: SteppedModel) -> None:
    now, reported = 0.0, threading.Event()
    engine = start(
        model,
        clock=lambda: now,
        stall_limits=StallLimits(seconds=0.1, times=2),
        on_lost=lambda reason: reported.set(),
    )
    future = engine.submit(["d" * 100])
    entered(model)
    now = 75.0
    assert reported.wait(WAIT_S)
    with pytest.raises(EngineUnavailable, match="a batch of 1 texts with 100 tokens has taken 75 s, expected 0 s"):
        future.result(WAIT_S)
    assert engine.describe().error == "a batch of 1 texts with 100 tokens has taken 75 s, expected 0 s"


def test_time_in_which_the_process_was_stopped_does_not_count_as_a_stall(model: SteppedModel) -> None:
    now, looks = 0.0, []
    waits = iter([1.0, 300.0, 1.0])

    class Ended(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            took = next(waits, None)
            now += took or 0.0
            return took is None

    class Looked(WorkQueue):
        def __init__(self) -> None:
            pass

        def stalled(self) -> str:
            looks.append(now)
            return ""

    engine = EncoderEngine("stepped", lambda _: model, clock=lambda: now, stall_limits=StallLimits(seconds=10))
    engine._ended = Ended()
    engine._watch(Looked())
    assert looks == [1.0, 302.0]


def test_a_defect_does_not_end_the_engine(start: Starter) -> None:
    class Forgetful(SteppedModel):
        def forward(self, batch: Sequence[Tokenized]) -> Vectors:
            return super().forward(batch)[: 0 if batch[0].content == "x" else None]

    model = Forgetful()
    engine = start(model)
    run(model, 2)
    with pytest.raises(IndexError):
        engine.submit(["x"]).result(WAIT_S)
    assert engine.submit(["y"]).result(WAIT_S).encoded.errors == [""]
    assert engine.load().waiting_tokens == 0


def test_while_loading_requests_are_refused_and_progress_is_reported(model: SteppedModel) -> None:
    proceed = threading.Event()

    def load(progress: Progress) -> SteppedModel:
        progress("reading weights")
        proceed.wait(WAIT_S)
        return model

    engine = EncoderEngine("slow", load)
    assert (engine.describe().state, engine.describe().progress) == (EngineState.LOADING, "")
    model.permits.acquire()
    engine.start()
    wait_for(lambda: engine.describe().progress == "reading weights")
    assert (engine.describe().state, engine.describe().model, engine.load()) == (EngineState.LOADING, "slow", EngineLoad())
    with pytest.raises(EngineUnavailable, match="model 'slow' is loading"):
        engine.submit(["x"], AS_QUERY)
    proceed.set()
    wait_for(lambda: engine.describe().progress == "warming up")
    run(model, 1)
    wait_for(lambda: engine.describe().state is EngineState.READY)
    description = engine.describe()
    assert (description.dimension, description.max_tokens, description.progress) == (2, 100, "")
    assert description.device == "abacus float3, 1 inference thread"
    engine.close(WAIT_S)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ModelError("bad", "there is no such folder"), "there is no such folder"),
        (OSError("disk\nbroken"), "OSError: disk broken"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_described_with_its_reason(failure: Exception, reason: str) -> None:
    def load(_: Progress) -> SteppedModel:
        raise failure

    engine = EncoderEngine("bad", load)
    engine.start()
    wait_for(lambda: engine.describe().state is EngineState.FAILED)
    assert engine.describe().error == reason
    with pytest.raises(ModelError, match=f"model 'bad': {reason}"):
        engine.submit(["x"], AS_QUERY)
    engine.close(WAIT_S)


def test_a_model_that_gives_no_good_vector_is_not_ready() -> None:
    class NaNModel(SteppedModel):
        def forward(self, batch: Sequence[Tokenized]) -> Vectors:
            return np.full((len(batch), 2), math.nan, dtype=np.float32)

    engine = EncoderEngine("nan", lambda _: NaNModel())
    engine.start()
    wait_for(lambda: engine.describe().state is EngineState.FAILED)
    assert engine.describe().error == "the probe text failed: the model gave a vector with NaN or infinity"
    engine.close(WAIT_S)


def test_no_texts_are_refused(start: Starter, model: SteppedModel) -> None:
    with pytest.raises(ValueError, match="texts is empty"):
        start(model).submit([], AS_QUERY)


def test_concurrent_callers_get_their_own_answers(start: Starter) -> None:
    """Threads that submit, cancel and wait at once: each answer is the caller's own, and nothing is left behind."""
    model = SteppedModel(inference_threads=2)
    run(model, 10**6)
    engine = start(model, QueueLimits(tokens=10**6), tokenizer_threads=2)

    def call(caller: int) -> None:
        for number in range(40):
            texts = ["t" * (1 + (caller * 31 + number * 7 + position) % 90) for position in range(1 + number % 7)]
            future = engine.submit(texts, AS_QUERY if caller % 2 else AS_DOCUMENT)
            if number % 5 == 4 and future.cancel():
                continue
            assert future.result(WAIT_S).encoded.vectors.tolist() == [[len(text), 1] for text in texts]

    failures: list[BaseException] = []

    def guarded(caller: int) -> None:
        try:
            call(caller)
        except BaseException as error:
            failures.append(error)

    callers = [threading.Thread(target=guarded, args=(caller,)) for caller in range(16)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(6 * WAIT_S)
    assert failures == []
    wait_for(lambda: (engine.load().waiting_texts, engine.load().waiting_tokens) == (0, 0))


def test_tokens_are_estimated_from_the_script_and_capped() -> None:
    assert estimated_tokens("", 512) == 2
    assert estimated_tokens("a" * 400, 512) == 102
    assert estimated_tokens("語" * 400, 512) == 402
    assert estimated_tokens("a" * 10**6, 512) == 512
