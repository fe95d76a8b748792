from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event

from shoal.cluster.jobs.encode.shared_lock import SharedLock


def test_the_lock_is_shared_or_exclusive():
    lock, inside, out = SharedLock(), [Event(), Event()], Event()

    def share(number: int) -> None:
        with lock.shared():
            inside[number].set()
            assert out.wait(20)

    def alone() -> None:
        with lock.alone():
            assert out.is_set()

    with ThreadPoolExecutor(4) as threads:
        sharing = [threads.submit(share, number) for number in range(2)]
        assert all(event.wait(20) for event in inside)
        one = threads.submit(alone)
        assert not wait([one], 0.1).done
        out.set()
        for future in [*sharing, one]:
            future.result(20)


def test_an_exclusive_request_goes_before_later_shared_ones():
    lock, inside, out = SharedLock(), Event(), Event()
    order: list[str] = []

    def first() -> None:
        with lock.shared():
            inside.set()
            assert out.wait(20)

    def alone() -> None:
        with lock.alone():
            order.append("alone")

    def later() -> None:
        with lock.shared():
            order.append("shared")

    with ThreadPoolExecutor(4) as threads:
        begun = [threads.submit(first)]
        assert inside.wait(20)
        begun.append(threads.submit(alone))
        assert not wait(begun, 0.1).done
        begun += [threads.submit(later) for _ in range(2)]
        assert not wait(begun, 0.1).done
        out.set()
        for future in begun:
            future.result(20)
    assert order == ["alone", "shared", "shared"]


def test_an_error_releases_the_lock():
    lock = SharedLock()
    for take in (lock.shared, lock.alone, lock.alone, lock.shared):
        try:
            with take():
                raise ValueError
        except ValueError:
            pass


def test_an_exclusive_holder_is_always_alone():
    lock = SharedLock()
    inside: list[str] = []

    def run(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(500):
            if draw.random() < 0.3:
                with lock.alone():
                    inside.append("alone")
                    assert inside == ["alone"]
                    inside.remove("alone")
            else:
                with lock.shared():
                    inside.append("shared")
                    assert "alone" not in inside
                    inside.remove("shared")

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(run, seed) for seed in range(4)]:
            future.result(30)
