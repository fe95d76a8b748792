from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest

from shoal.workers.encoding.engine import inference_threads as threads_module
from shoal.workers.encoding.engine.inference_threads import InferenceThreads
from shoal.workers.encoding.engine.watchdog import StallLimits
from shoal.workers.encoding.model import Isolated, ModelError
from shoal.workers.encoding.static.hashing_model import HashingModel

BATCHES = [[0, 1], [2], [3, 4, 5]]
COUNTS = [10, 20, 30, 1, 2, 3]


class Stalled(Exception):
    pass


def give_up(reason: str) -> NoReturn:
    raise Stalled(reason)


class TwoThreads(HashingModel):
    inference_threads = 2


def made_of(batch: Sequence[int]) -> Isolated:
    return np.array(batch, dtype=np.float32)[:, None], {}


def test_batches_come_out_in_order() -> None:
    first_ended = threading.Event()

    def compute(batch: Sequence[int]) -> Isolated:
        # The second thread is the quicker one.
        if batch == BATCHES[0]:
            assert first_ended.wait(10)
        else:
            first_ended.set()
        return made_of(batch)

    threads = InferenceThreads(TwoThreads(8), give_up)
    assert [vectors[:, 0].tolist() for vectors, _ in threads.run(compute, BATCHES, COUNTS)] == BATCHES


@pytest.mark.parametrize("stuck", BATCHES)
def test_a_batch_that_never_ends_is_reported_and_the_rest_is_not_begun(stuck: list[int]) -> None:
    released, begun = threading.Event(), []

    def compute(batch: Sequence[int]) -> Isolated:
        begun.append(batch)
        if batch == stuck:
            released.wait(30)
        return made_of(batch)

    threads = InferenceThreads(HashingModel(8), give_up, StallLimits(seconds=0.5, times=1e-6))
    tokens = sum(COUNTS[row] for row in stuck)
    try:
        with pytest.raises(
            Stalled, match=rf"^a batch of {len(stuck)} texts with {tokens} tokens has taken \d s, expected .* s$"
        ):
            list(threads.run(compute, BATCHES, COUNTS))
        assert begun == BATCHES[: BATCHES.index(stuck) + 1]
    finally:
        released.set()


def test_a_batch_that_was_expected_to_take_long_may_do_so() -> None:
    def compute(batch: Sequence[int]) -> Isolated:
        threading.Event().wait(0.01 * sum(COUNTS[row] for row in batch))
        return made_of(batch)

    # The first is expected to take 0.3 s at 10 ms a token, the later ones what that came to.
    threads = InferenceThreads(HashingModel(8), give_up, StallLimits(seconds=0.01, times=1000))
    assert len(list(threads.run(compute, BATCHES, COUNTS))) == 3


def test_time_in_which_the_process_was_stopped_does_not_count_as_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    waits: list[tuple[float, bool]] = []

    def wait(_: object, __: float) -> SimpleNamespace:
        nonlocal now
        took, done = waits.pop(0)
        now += took
        return SimpleNamespace(done=done)

    monkeypatch.setattr(threads_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(threads_module, "wait", wait)
    threads = InferenceThreads(HashingModel(8), give_up, StallLimits(seconds=10))
    threads._watchdog.begin(1, "a batch", now, 0.0)
    # The batch either ends once the process continues, or never.
    waits[:] = [(300.0, False), (1.0, True)]
    threads._watch(Future())
    waits[:] = [(300.0, False), (1.0, False)]
    with pytest.raises(Stalled, match=r"^a batch has taken 602 s"):
        threads._watch(Future())


def test_errors_of_a_batch_are_raised() -> None:
    def compute(batch: Sequence[int]) -> Isolated:
        raise ModelError("m", "the device is gone")

    with pytest.raises(ModelError, match="the device is gone"):
        list(InferenceThreads(HashingModel(8), give_up).run(compute, BATCHES, COUNTS))
