"""Reads the ledger from the event loop: the reader's methods block, so they run on a few threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from sqlalchemy.engine import Engine

from shoal.cluster.decisions.access import ApiKey
from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.ledger.connection import check_readable
from shoal.cluster.ledger.databases.sqlite import ChangeCounter
from shoal.cluster.ledger.lease import read_lease
from shoal.cluster.ledger.reader import LedgerReader
from shoal.cluster.ledger.records import (
    CollectionRecord,
    Cut,
    DocumentRecord,
    ExplainRecord,
    FailedDocuments,
    Lease,
    LiveDocument,
)

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4


class LedgerReads:
    """The reader's methods as coroutines. They raise LedgerError: LedgerUnreadable when the ledger cannot be read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = LedgerReader(engine)
        self._changes = ChangeCounter(engine)
        self._keys: dict[str, ApiKey] = {}
        self._keys_version: int | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="shoal-ledger")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a blocking function on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))

    async def lease(self) -> Lease | None:
        """The lease of the coordinator, with its address; None before any coordinator has started."""
        return await self.run(read_lease, self._engine)

    async def check(self) -> None:
        """Raises LedgerUnreadable when the ledger is no longer there."""
        await self.run(check_readable, self._engine)

    async def collection(self, name: str) -> CollectionRecord:
        """One collection; raises CollectionNotFound."""
        return await self.run(self._reader.collection, name)

    async def cut(self, name: str, awaited: AwaitedWrites | None = None) -> Cut:
        """The state that a search is based on; raises CollectionNotFound. Brings `awaited` up to date."""
        return await self.run(self._reader.cut, name, awaited)

    async def cuts(self) -> list[Cut]:
        """The state of every collection, by name."""
        return sorted(await self.run(self._reader.cuts), key=lambda cut: cut.collection.name)

    async def writes_pending(self, generation_id: int, awaited: AwaitedWrites) -> bool:
        """True while one of these writes is pending; brings `awaited` up to date."""
        return await self.run(self._reader.writes_pending, generation_id, awaited)

    async def hydrate(
        self, collection_id: int, generation_id: int, ids: Sequence[str], include_text: bool
    ) -> dict[str, LiveDocument]:
        """The live documents against which hits are validated."""
        return await self.run(self._reader.hydrate, collection_id, generation_id, ids, include_text)

    async def get(self, collection: str, ids: Sequence[str], max_bytes: int) -> Sequence[DocumentRecord]:
        """The documents that exist among `ids`; raises ResultTooLarge above `max_bytes`."""
        return await self.run(self._reader.get, collection, ids, max_bytes)

    async def explain(self, collection: str, document_id: str) -> ExplainRecord:
        """Everything known about one document; raises DocumentNotFound."""
        return await self.run(self._reader.explain, collection, document_id)

    async def failed(self, collection: str, limit: int) -> FailedDocuments:
        """Documents that could not be embedded."""
        return await self.run(self._reader.failed, collection, limit)

    async def keys(self) -> list[ApiKey]:
        """All API keys, oldest first."""
        return await self.run(self._reader.keys)

    async def key(self, id: str) -> ApiKey | None:
        """The API key of that id, as the newest commit has it. Kept until the ledger changes, where that can be told."""
        version = self._changes.value()
        if version is None or version != self._keys_version:
            self._keys.clear()
            self._keys_version = version
        elif (kept := self._keys.get(id)) is not None:
            return kept
        key = await self.run(self._reader.key, id)
        # The key is at least as new as `version`: were it newer, the version has changed too.
        if key is not None and version is not None and self._keys_version == version:
            self._keys[id] = key
        return key

    async def source_ids(self, collection: str, source: str, after: str, limit: int) -> list[str]:
        """A page of the ids of the documents of a source; raises CollectionNotFound."""
        return await self.run(self._reader.source_ids, collection, source, after, limit)

    async def failed_writes(self, collection: str, awaited: AwaitedWrites, limit: int) -> FailedDocuments:
        """Documents of these writes that could not be embedded."""
        return await self.run(self._reader.failed_writes, collection, awaited, limit)

    def close(self) -> None:
        """Stops the threads and closes the database connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._changes.close()
        self._engine.dispose()
