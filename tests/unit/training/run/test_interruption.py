"""The first signal waits for a good moment, the second does not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from shoal.workers.training.word2vec.run.interruption import Interruption


class Signalled(Exception):
    pass


@pytest.fixture(autouse=True)
def handler() -> Iterator[object]:
    def handle(*_: object) -> None:
        raise Signalled

    before = signal.signal(signal.SIGTERM, handle)
    yield handle
    signal.signal(signal.SIGTERM, before)


def send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_first_signal_is_only_noted(handler: object) -> None:
    with Interruption() as interruption:
        assert not interruption.noted
        interruption.answer()
        send()
        assert interruption.noted
        with pytest.raises(Signalled):
            interruption.answer()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_the_second_signal_has_its_usual_effect(handler: object) -> None:
    with Interruption() as interruption:
        send()
        with pytest.raises(Signalled):
            send()
        assert interruption.noted and signal.getsignal(signal.SIGTERM) is handler


def test_a_signal_without_a_python_handler_is_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            send()
            assert not interruption.noted
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_leave_signals_to_the_main_thread(handler: object) -> None:
    seen: list[object] = []

    def look() -> None:
        with Interruption():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [handler]
