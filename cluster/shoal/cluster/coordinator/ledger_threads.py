"""Threads for the coordinator's blocking calls to the ledger; a single one for writes, so that no two overlap."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from shoal.cluster.ledger.errors import Deposed, LedgerUnreadable

P = ParamSpec("P")
Answer = TypeVar("Answer")


class LedgerThreads:
    """Runs ledger calls off the event loop; `deposed` is called when a write finds that the lease is gone."""

    def __init__(self, deposed: Callable[[], None]) -> None:
        self._deposed = deposed
        self.failed_write = ""
        """Why the newest write could not be made, because of the ledger itself; empty if it was made."""
        self.uncertain = False
        """Set by each such failure: the ledger may have committed the write."""
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shoal-ledger-write")
        self._reading = ThreadPoolExecutor(max_workers=2, thread_name_prefix="shoal-ledger-read")

    async def write(self, call: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        """Runs a writing call. It goes on when the caller is cancelled: what is committed is then known here as well."""
        future = self._writing.submit(call, *args, **kwargs)
        try:
            answer = await asyncio.shield(asyncio.wrap_future(future))
        except Deposed:
            self._deposed()
            raise
        except LedgerUnreadable as error:
            self.failed_write = error.place_and_reason
            self.uncertain = True
            raise
        self.failed_write = ""
        return answer

    async def read(self, call: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        """Runs a reading call."""
        return await asyncio.wrap_future(self._reading.submit(call, *args, **kwargs))

    def close(self) -> None:
        """Waits for the calls that are running, and drops those that have not begun."""
        self._writing.shutdown(wait=True, cancel_futures=True)
        self._reading.shutdown(wait=True, cancel_futures=True)
