"""Tests for one client only: threads for the blocking one, tasks and asynchronous iterables for the other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shoal.client import AsyncClient, Client, Document, Unavailable
from shoal.client._transport import sync_stream as _sync_stream
from support.gateway.client_server import FakeGateway


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as server, Client(server.address) as client:
        client.create_collection("c", model="m")
        server.world.calls.clear()
        yield server


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition never came true"
        time.sleep(0.005)


@pytest.mark.parametrize("window", [1, 3])
def test_no_more_than_the_window_is_read_ahead_of_the_answers(gateway: FakeGateway, window: int):
    gateway.world.batch_replies = threading.Semaphore(0)
    given: list[int] = []

    def documents() -> Iterator[Document]:
        for number in range(100):
            given.append(number)
            yield Document(id=str(number), text="x")

    with Client(gateway.address) as client, ThreadPoolExecutor(1) as pool:
        upload = pool.submit(client.upsert_many, "c", documents(), batch_size=5, window=window)
        for answered in range(4):
            in_flight = window + answered
            wait_until(lambda: bool(gateway.world.batches) and len(gateway.world.batches[0]) == in_flight)  # noqa: B023
            time.sleep(0.05)
            assert len(gateway.world.batches[0]) == in_flight
            # The document that did not fit into the last batch has been read too.
            assert len(given) == in_flight * 5 + 1
            gateway.world.batch_replies.release()
        gateway.world.batch_replies.release(1000)
        assert upload.result(timeout=60).changed == 100


def test_the_window_holds_for_the_async_client_too(gateway: FakeGateway):
    gateway.world.batch_replies = threading.Semaphore(0)
    given: list[int] = []

    async def documents() -> AsyncIterator[Document]:
        for number in range(60):
            given.append(number)
            yield Document(id=str(number), text="x")

    async def upload() -> int:
        async with AsyncClient(gateway.address) as client:
            task = asyncio.create_task(client.upsert_many("c", documents(), batch_size=5, window=2))
            while not gateway.world.batches or len(gateway.world.batches[0]) < 2:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            assert (len(gateway.world.batches[0]), len(given)) == (2, 11)
            gateway.world.batch_replies.release(1000)
            return (await task).changed

    assert asyncio.run(upload()) == 60


def test_several_threads_share_a_client(gateway: FakeGateway):
    with Client(gateway.address) as client, ThreadPoolExecutor(8) as pool:

        def work(thread: int) -> int:
            client.upsert_many("c", [Document(id=f"{thread}-{n}", text=f"word {thread}") for n in range(50)], batch_size=7)
            return sum(len(client.search("c", "word", k=5)) for _ in range(20))

        assert list(pool.map(work, range(8))) == [100] * 8
    assert len(gateway.world.collections["c"].documents) == 400


def test_an_iterable_that_fails_ends_the_upload_and_its_threads(gateway: FakeGateway):
    def documents() -> Iterator[Document]:
        yield from (Document(id=str(number), text="x") for number in range(20))
        raise OSError("disk gone")

    with Client(gateway.address) as client:
        with pytest.raises(OSError, match="disk gone"):
            client.upsert_many("c", documents(), batch_size=2)
        wait_until(lambda: not any(thread.name == "shoal-upload" for thread in threading.enumerate()))


def test_an_upload_ends_with_its_last_answer(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch):
    # How long to wait for the end of a stream that never ends.
    monkeypatch.setattr(_sync_stream, "_CLOSE_S", 60)
    with Client(gateway.address) as client:
        started_at_s = time.monotonic()
        client.upsert_many("c", [Document(id="a", text="x")])
        assert time.monotonic() - started_at_s < 30


def test_cancelling_an_upload_ends_its_tasks(gateway: FakeGateway):
    gateway.world.batch_replies = threading.Semaphore(0)

    async def cancel() -> set[str]:
        async with AsyncClient(gateway.address) as client:
            task = asyncio.create_task(client.upsert_many("c", [Document(id="a", text="x")]))
            while not gateway.world.batches:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return {left.get_name() for left in asyncio.all_tasks()}

    assert "shoal-upload" not in asyncio.run(cancel())


def test_calls_of_one_loop_run_at_the_same_time(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch):
    all_there = threading.Barrier(6)
    monkeypatch.setattr(gateway.world, "enter", lambda method, context: all_there.wait(20))

    async def search() -> list[int]:
        async with AsyncClient(gateway.address) as client:
            return [len(hits) for hits in await asyncio.gather(*(client.search("c", "x") for _ in range(6)))]

    assert asyncio.run(search()) == [0] * 6


def test_a_server_that_comes_back_is_found_within_the_deadline():
    with FakeGateway() as first:
        port = first.port
    with Client(f"127.0.0.1:{port}", timeout=60) as client, ThreadPoolExecutor(1) as pool:
        listing = pool.submit(client.list_collections)
        time.sleep(0.4)
        assert not listing.done()
        with FakeGateway(port):
            assert listing.result(timeout=60) == []


def test_an_upload_survives_a_restart_of_the_server(gateway: FakeGateway):
    replacement: list[FakeGateway] = []

    def documents() -> Iterator[Document]:
        for number in range(60):
            if number == 30:
                gateway.stop()
                replacement.append(FakeGateway(gateway.port))
                replacement[0].world.collections = gateway.world.collections
            yield Document(id=str(number), text="x")

    with Client(gateway.address) as client:
        assert client.upsert_many("c", documents(), batch_size=5).documents == 60
    assert len(replacement[0].world.collections["c"].documents) == 60
    replacement[0].stop()


def test_an_unreachable_server_is_reported_with_its_address():
    with FakeGateway() as gone:
        address = gone.address
    with Client(address, timeout=2.0) as client, pytest.raises(Unavailable, match=f"cannot reach {address}"):
        client.status()
