"""One bidirectional stream over blocking gRPC, with a thread that reads its replies."""

from __future__ import annotations

import queue
import threading
from typing import Any, Generic, TypeVar

import grpc

from shoal.client.errors import ShoalError, Unavailable, error_from_status

Reply = TypeVar("Reply")

_CLOSE_S = 1.0


class Connection(Generic[Reply]):
    """One stream. Its replies, and finally the error that ended it, arrive in `inbox`."""

    def __init__(self, method: Any, name: str, address: str) -> None:
        """`method` is a method of a stub; `name` is what messages call the stream."""
        self._name = name
        self._address = address
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.inbox: queue.SimpleQueue[Reply | ShoalError] = queue.SimpleQueue()
        self._call: Any = method(iter(self._outbox.get, None))
        self._reader = threading.Thread(target=self._read, name=f"shoal-{name}", daemon=True)
        self._reader.start()

    def send(self, message: Any) -> None:
        """Queues a message."""
        self._outbox.put(message)

    def close(self, *, graceful: bool) -> None:
        """Ends the stream and its threads; `graceful` gives the server a moment to end its side first."""
        self._outbox.put(None)
        if graceful:
            self._reader.join(_CLOSE_S)
        self._call.cancel()
        self._reader.join()

    def _read(self) -> None:
        try:
            for reply in self._call:
                self.inbox.put(reply)
            self.inbox.put(Unavailable(f"the server at {self._address} ended the {self._name} early"))
        except grpc.RpcError:
            call = self._call
            self.inbox.put(error_from_status(call.code(), call.details() or "", call.trailing_metadata(), self._address))
