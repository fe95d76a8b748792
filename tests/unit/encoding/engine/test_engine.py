"""What an engine answers, in which order, and what it reports of its work."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.engine.scheduler import Priority
from shoal.workers.encoding.engine.tokenize_queue import RANGE_TEXTS
from shoal.workers.encoding.model import (
    AS_DOCUMENT,
    AS_QUERY,
    EncodeOptions,
    Tokenized,
)
from unit.encoding.engine.stepped_engine import WAIT_S, Starter, SteppedModel, all_read, entered, run, wait_for


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
    texts = [f"{number:04}" for number in range(3 * RANGE_TEXTS)]
    future = engine.submit(texts)
    entered(model)
    wait_for(lambda: len(model.read) == 1 + 3)
    assert model.served() == []
    run(model, 100)
    assert future.result(WAIT_S).encoded.vectors.tolist() == [[4, 1]] * len(texts)


def test_an_idle_inference_thread_tokenizes_a_lone_query_itself(start: Starter, model: SteppedModel) -> None:
    threads: list[str] = []

    class Watched(SteppedModel):
        def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
            threads.append(threading.current_thread().name)
            return super().tokenize(texts, options)

    watched = Watched()
    engine = start(watched)
    run(watched, 3)
    for number in range(3):
        # The thread is idle again once it waits, a moment after it answered.
        wait_for(lambda: engine._work_queue is not None and engine._work_queue._idle_threads == 1)
        engine.submit([f"query {number}"], AS_QUERY).result(WAIT_S)
    assert threads == ["shoal-encoder-inference-0"] * 4


def test_inference_threads_compute_side_by_side(start: Starter) -> None:
    model = SteppedModel(inference_threads=3)
    engine = start(model)
    futures = [engine.submit([letter * 100]) for letter in "abc"]
    for _ in range(3):
        entered(model)
    run(model, 3)
    assert [future.result(WAIT_S).encoded.tokens for future in futures] == [[100]] * 3
    names = {f"shoal-encoder-inference-{number}" for number in range(3)}
    assert set(model.inference_thread_names) == model.forward_threads == names
    assert len(model.inference_thread_names) == 3


def test_idle_inference_threads_share_one_request(start: Starter) -> None:
    model = SteppedModel(inference_threads=2)
    model.bounds = BatchBounds(1000, min_tokens=50)
    engine = start(model)
    wait_for(lambda: engine._work_queue is not None and engine._work_queue._idle_threads == 2)
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


def test_a_request_without_a_valid_text_is_answered(start: Starter, model: SteppedModel) -> None:
    engine = start(model)
    answer = engine.submit(["", "unreadable"]).result(WAIT_S)
    assert answer.encoded.errors == ["empty", "the tokenizer failed: KeyError: 'no such letter'"]
    assert model.served() == []
