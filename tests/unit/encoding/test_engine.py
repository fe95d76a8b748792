from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.chunking import CHUNK_TEXTS
from shoal.workers.encoding.engine import EncoderEngine, EngineState, EngineUnavailable, Progress
from shoal.workers.encoding.model import (
    AS_DOCUMENT,
    AS_QUERY,
    DeviceLost,
    EmbeddingModel,
    EncodeOptions,
    ModelError,
    Tokenized,
    Vectors,
)
from shoal.workers.encoding.open_request import Answer
from shoal.workers.encoding.scheduler import Priority, QueueFull, QueueLimits
from shoal.workers.encoding.watchdog import StallLimits
from shoal.workers.encoding.workload import DeadlineExpired, Load, estimated_tokens

WAIT_S = 10.0


class SteppedModel(EmbeddingModel):
    """Encodes a text of n letters as [n, 1] from n tokens, and each batch only when the test lets it."""

    name, fingerprint, dimension, max_tokens, bounds = "stepped", "f00d", 2, 100, BatchBounds(100)
    device, precision = "abacus", "float3"

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = lanes
        self.batches: list[list[str]] = []
        self.read: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.permits = threading.Semaphore(1)
        self.lane_threads: list[str] = []
        self.forward_threads: set[str] = set()
        self.failure: Exception | None = None

    def enter_lane(self) -> None:
        self.lane_threads.append(threading.current_thread().name)

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


@pytest.fixture
def model() -> SteppedModel:
    return SteppedModel()


Starter = Callable[..., EncoderEngine]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Starts engines that are ready; a batch of theirs then needs a permit."""
    begun: list[tuple[SteppedModel, EncoderEngine]] = []

    def starter(
        model: SteppedModel, limits: QueueLimits | None = None, clock: Callable[[], float] = lambda: 0.0, **others: object
    ) -> EncoderEngine:
        engine = EncoderEngine("stepped", lambda _: model, limits, clock, **others)  # type: ignore[arg-type]
        begun.append((model, engine))
        engine.start()
        assert model.entered.acquire(timeout=WAIT_S)
        wait_for(lambda: engine.describe().state is not EngineState.LOADING)
        return engine

    yield starter
    for model, engine in begun:
        model.permits.release(1000)
        engine.close(WAIT_S)
    assert not any(thread.name.startswith("shoal-encoder") for thread in threading.enumerate())


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
    """Waits until a lane is in the model."""
    assert model.entered.acquire(timeout=WAIT_S)


def all_read(engine: EncoderEngine, tokens: int) -> None:
    """Waits until all texts are read, and have so many tokens, with the batch that is computed; estimates must differ."""
    wait_for(lambda: engine.load().waiting_tokens == tokens)


def test_answers_are_in_the_order_of_the_texts_though_long_ones_go_first(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    texts = ["a" * length for length in (5, 90, 1, 40, 41, 12)]
    future = engine.submit(texts)
    run(model, 10)
    answer = future.result(WAIT_S)
    assert answer.encoded.vectors.tolist() == [[len(text), 1] for text in texts]
    assert answer.encoded.tokens == [len(text) for text in texts]
    assert answer.fingerprint == "f00d"
    assert [[len(text) for text in batch] for batch in model.served()] == [[90, 5, 1], [41, 40, 12]]


def test_a_query_overtakes_the_batches_of_a_large_document_request(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    documents = engine.submit(["d" * 100, "e" * 100, "f" * 100, "g" * 100])
    entered(model)
    query = engine.submit(["query"], AS_QUERY)
    all_read(engine, 405)
    run(model, 2)
    assert query.result(WAIT_S).encoded.errors == [""]
    assert not documents.done()
    assert model.served() == [["d" * 100], ["query"]]
    run(model, 3)
    assert len(documents.result(WAIT_S).encoded.errors) == 4


def test_priorities_can_be_given(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    futures = [engine.submit(["busy" * 20])]
    entered(model)
    futures.append(engine.submit(["backfill" * 10], AS_DOCUMENT, Priority.BACKFILL))
    futures.append(engine.submit(["live" * 20], AS_QUERY, Priority.LIVE))
    futures.append(engine.submit(["query" * 16], AS_DOCUMENT, Priority.QUERY))
    all_read(engine, 80 + 80 + 80 + 80)
    run(model, 4)
    assert [future.result(WAIT_S).encoded.errors for future in futures] == [[""]] * 4
    assert model.served() == [["busy" * 20], ["query" * 16], ["live" * 20], ["backfill" * 10]]


def test_requests_that_gather_while_the_model_is_busy_share_a_batch(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    first = engine.submit(["first"], AS_QUERY)
    entered(model)
    gathered = [engine.submit([f"question {number}"], AS_QUERY) for number in range(5)]
    all_read(engine, 5 + 5 * 10)
    run(model, 2)
    assert [future.result(WAIT_S).encoded.tokens for future in [first, *gathered]] == [[5]] + [[10]] * 5
    assert [len(texts) for texts in model.served()] == [1, 5]


def test_texts_are_read_while_the_model_computes(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    texts = [f"{number:04}" for number in range(3 * CHUNK_TEXTS)]
    future = engine.submit(texts)
    entered(model)
    wait_for(lambda: len(model.read) == 1 + 3)
    assert model.served() == []
    run(model, 100)
    assert future.result(WAIT_S).encoded.vectors.tolist() == [[4, 1]] * len(texts)


def test_an_idle_lane_reads_a_lone_query_itself(start: Starter, model: SteppedModel) -> None:
    threads: list[str] = []

    class Watched(SteppedModel):
        def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
            threads.append(threading.current_thread().name)
            return super().tokenize(texts, options)

    watched = Watched()
    engine = start(watched)
    run(watched, 3)
    for number in range(3):
        # The lane is idle again once it waits, a moment after it answered.
        wait_for(lambda: engine._workload is not None and engine._workload._idle_lanes == 1)
        engine.submit([f"query {number}"], AS_QUERY).result(WAIT_S)
    assert threads == ["shoal-encoder-lane-0"] * 4


def test_lanes_compute_side_by_side(start: Starter) -> None:
    model = SteppedModel(lanes=3)
    engine = start(model)
    futures = [engine.submit([letter * 100]) for letter in "abc"]
    for _ in range(3):
        entered(model)
    run(model, 3)
    assert [future.result(WAIT_S).encoded.tokens for future in futures] == [[100]] * 3
    lanes = {f"shoal-encoder-lane-{number}" for number in range(3)}
    assert set(model.lane_threads) == model.forward_threads == lanes
    assert len(model.lane_threads) == 3


def test_idle_lanes_share_one_request(start: Starter) -> None:
    model = SteppedModel(lanes=2)
    model.bounds = BatchBounds(1000, least=50)
    engine = start(model)
    wait_for(lambda: engine._workload is not None and engine._workload._idle_lanes == 2)
    future = engine.submit(["a" * 60, "b" * 60])
    for _ in range(2):
        entered(model)
    run(model, 2)
    assert future.result(WAIT_S).encoded.tokens == [60, 60]
    assert sorted(model.served()) == [["a" * 60], ["b" * 60]]


def test_equal_texts_of_a_request_are_computed_once(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    future = engine.submit(["tide", "moon!", "tide", "", "tide", ""])
    run(model, 1)
    encoded = future.result(WAIT_S).encoded
    assert encoded.vectors.tolist() == [[4, 1], [5, 1], [4, 1], [0, 0], [4, 1], [0, 0]]
    assert encoded.tokens == [4, 5, 4, 0, 4, 0]
    assert encoded.errors == ["", "", "", "empty", "", "empty"]
    assert [sorted(batch) for batch in model.served()] == [["moon!", "tide"]]


def test_options_reach_the_tokenizer_and_the_end(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    wide, narrow = engine.submit(["tide"]), engine.submit(["tide"], EncodeOptions(dimensions=1))
    run(model, 2)
    assert wide.result(WAIT_S).encoded.vectors.tolist() == [[4, 1]]
    assert narrow.result(WAIT_S).encoded.vectors.tolist() == [[4]]


def test_bad_texts_leave_their_neighbours_alone(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    future = engine.submit(["good", "poison", "fine", "nan", "unreadable", ""])
    neighbour = engine.submit(["neighbour"])
    run(model, 20)
    encoded = future.result(WAIT_S).encoded
    assert encoded.errors == [
        "",
        "the model failed: ValueError: poison",
        "",
        "the model gave a vector with NaN or infinity",
        "the tokenizer failed: KeyError: 'no such letter'",
        "empty",
    ]
    assert encoded.vectors.tolist() == [[4, 1], [0, 0], [4, 1], [0, 0], [0, 0], [0, 0]]
    assert encoded.tokens == [4, 0, 4, 0, 0, 0]
    assert neighbour.result(WAIT_S).encoded.vectors.tolist() == [[9, 1]]
    assert (engine.load().texts, engine.load().failed_texts) == (3, 4)


def test_a_request_of_which_nothing_can_be_read_is_answered(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    answer = engine.submit(["", "unreadable"]).result(WAIT_S)
    assert answer.encoded.errors == ["empty", "the tokenizer failed: KeyError: 'no such letter'"]
    assert model.served() == []


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


def test_reading_waiting_and_computing_are_told_apart(start: Starter) -> None:
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


def test_the_load_is_told(start: Starter, model: SteppedModel) -> None:
    now = 0.0
    engine = start(model, clock=lambda: now)
    assert engine.load() == Load(lanes=1)
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
    assert engine.load() == Load(texts=3, tokens=150, batches=2, busy_s=2.0, lanes=1)


def test_a_full_queue_refuses_at_once(start: Starter, model: SteppedModel) -> None:
    engine = start(model, QueueLimits(tokens=50))
    futures = [engine.submit(["busy"])]
    entered(model)
    futures.append(engine.submit(["d" * 90]))
    with pytest.raises(QueueFull):
        engine.submit(["e" * 150])
    run(model, 5)
    assert all(future.result(WAIT_S).encoded.errors == [""] for future in futures)


def test_closing_fails_what_waits_and_refuses_what_comes(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    begun = engine.submit(["d" * 100, "e" * 100, "f" * 100])
    entered(model)
    waiting = [begun, engine.submit(["q"], AS_QUERY)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_for(lambda: _refuses(engine))
    run(model, 1)
    closing.join(WAIT_S)
    for future in waiting:
        with pytest.raises(EngineUnavailable, match="was closed"):
            future.result(WAIT_S)
    assert not any(thread.name.startswith("shoal-encoder") for thread in threading.enumerate())


def _refuses(engine: EncoderEngine) -> bool:
    try:
        engine.submit(["x"]).cancel()
    except EngineUnavailable:
        return True
    return False


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
    with pytest.raises(EngineUnavailable, match="a batch of 1 texts with 100 tokens takes 75 s, 0 s were expected"):
        future.result(WAIT_S)
    assert engine.describe().error == "a batch of 1 texts with 100 tokens takes 75 s, 0 s were expected"


def test_a_fault_of_ours_does_not_end_the_engine(start: Starter) -> None:
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


def test_while_loading_requests_are_refused_and_the_progress_is_told(model: SteppedModel) -> None:
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
    assert (engine.describe().state, engine.describe().model, engine.load()) == (EngineState.LOADING, "slow", Load())
    with pytest.raises(EngineUnavailable, match="model 'slow' is loading"):
        engine.submit(["x"], AS_QUERY)
    proceed.set()
    wait_for(lambda: engine.describe().progress == "warming up")
    run(model, 1)
    wait_for(lambda: engine.describe().state is EngineState.READY)
    description = engine.describe()
    assert (description.dimension, description.max_tokens, description.progress) == (2, 100, "")
    assert description.device == "abacus float3, 1 lane"
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
    assert engine.describe().error == "a first text failed: the model gave a vector with NaN or infinity"
    engine.close(WAIT_S)


def test_no_texts_are_refused(start: Starter, model: SteppedModel) -> None:
    with pytest.raises(ValueError, match="texts is empty"):
        start(model).submit([], AS_QUERY)


def test_many_callers_get_what_they_asked_for(start: Starter) -> None:
    """Threads that submit, cancel and wait at once: each answer is the caller's own, and nothing is left behind."""
    model = SteppedModel(lanes=2)
    run(model, 10**6)
    engine = start(model, QueueLimits(tokens=10**6), readers=2)

    def call(caller: int) -> None:
        for number in range(40):
            texts = ["t" * (1 + (caller * 31 + number * 7 + place) % 90) for place in range(1 + number % 7)]
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
