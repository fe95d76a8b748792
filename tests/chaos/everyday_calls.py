"""Calls as users make them, with clients that have their default settings, one after another until they are stopped."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable

from shoal.client import AsyncClient, Client, Document


class EverydayCalls:
    """A thread for each kind of call. Counts the answers, and keeps every exception that a user would see."""

    def __init__(self, address: str, collection: str, model: str) -> None:
        self._address = address
        self._collection = collection
        self._model = model
        self._stop = threading.Event()
        self.answered: Counter[str] = Counter()
        self.seen: list[tuple[str, BaseException]] = []
        kinds = (self._search, self._like, self._get, self._embed, self._upsert, self._delete, self._upload)
        self._threads = [threading.Thread(target=self._repeat, args=(kind,), name=kind.__name__) for kind in kinds]
        self._threads.append(threading.Thread(target=asyncio.run, args=(self._search_in_loop(),), name="async search"))

    def __enter__(self) -> EverydayCalls:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def kinds(self) -> int:
        return len(self._threads)

    def _repeat(self, call: Callable[[Client, int], object]) -> None:
        with Client(self._address) as client:
            number = 0
            while not self._stop.wait(0.01):
                number += 1
                try:
                    call(client, number)
                except BaseException as error:
                    self.seen.append((call.__name__, error))
                    return
                self.answered[call.__name__] += 1

    def _search(self, client: Client, number: int) -> None:
        assert client.search(self._collection, f"text {number}", k=3).hits

    def _like(self, client: Client, number: int) -> None:
        assert client.search(self._collection, like=f"kept{number % 10}", k=3).hits

    def _get(self, client: Client, number: int) -> None:
        assert len(client.get(self._collection, ["kept1", "kept2"])) == 2

    def _embed(self, client: Client, number: int) -> None:
        assert not client.embed(self._model, [f"new {number}"], role="query").errors

    def _upsert(self, client: Client, number: int) -> None:
        [result] = client.upsert(self._collection, [Document("written", f"edition {number}")]).results
        assert result.error is None

    def _delete(self, client: Client, number: int) -> None:
        client.upsert(self._collection, [Document(f"gone{number}", "soon gone")])
        client.delete(self._collection, [f"gone{number}"])

    def _upload(self, client: Client, number: int) -> None:
        documents = [Document(f"uploaded{index}", f"run {number} text {index}") for index in range(30)]
        assert client.upsert_many(self._collection, documents, batch_size=10).refused == 0

    async def _search_in_loop(self) -> None:
        async with AsyncClient(self._address) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                try:
                    assert (await client.search(self._collection, f"text {number} again", k=3)).hits
                except BaseException as error:
                    self.seen.append(("async search", error))
                    return
                self.answered["async search"] += 1
                await asyncio.sleep(0.01)
