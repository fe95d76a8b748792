"""Carries out an upload over blocking gRPC: one thread reads replies, the caller's thread does all else."""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import grpc

from shoal.client._channel import Stubs
from shoal.client._retry import RetryPolicy
from shoal.client._upload import Upload, is_passing
from shoal.client.errors import DeadlineExceeded, ShoalError, Unavailable, error_from_status
from shoal.client.types import Document, UploadProgress
from shoal.v1 import documents_pb2

_CLOSE_S = 1.0


class _Connection:
    """One stream. Replies, and at last the reason of its end, come out of `inbox`."""

    def __init__(self, stubs: Stubs, address: str) -> None:
        self._address = address
        self._outbox: queue.SimpleQueue[documents_pb2.UpsertStreamRequest | None] = queue.SimpleQueue()
        self.inbox: queue.SimpleQueue[documents_pb2.UpsertStreamResponse | ShoalError] = queue.SimpleQueue()
        self._call: Any = stubs.documents.UpsertStream(iter(self._outbox.get, None))
        self._reader = threading.Thread(target=self._read, name="shoal-upload", daemon=True)
        self._reader.start()

    def send(self, message: documents_pb2.UpsertStreamRequest) -> None:
        self._outbox.put(message)

    def close(self, *, kindly: bool) -> None:
        """Ends the stream and its threads; kindly: the server gets a moment to end its side first."""
        self._outbox.put(None)
        if kindly:
            self._reader.join(_CLOSE_S)
        self._call.cancel()
        self._reader.join()

    def _read(self) -> None:
        try:
            for reply in self._call:
                self.inbox.put(reply)
            self.inbox.put(Unavailable(f"the server at {self._address} ended the upload early"))
        except grpc.RpcError:
            call = self._call
            self.inbox.put(error_from_status(call.code(), call.details() or "", call.trailing_metadata(), self._address))


def run_upload(
    stubs: Stubs,
    address: str,
    upload: Upload,
    documents: Iterable[Document],
    tell: Callable[[UploadProgress], None],
    policy: RetryPolicy,
    rng: Random,
    timeout_s: float,
) -> None:
    """Sends all documents and returns when every batch is answered; raises what a retry cannot mend."""
    connection = _Connection(stubs, address)

    def settle(enough: Callable[[], bool]) -> None:
        nonlocal connection
        progress_at_s, attempt = time.monotonic(), 0
        while not enough():
            try:
                try:
                    reply = connection.inbox.get(timeout=max(0.0, timeout_s - (time.monotonic() - progress_at_s)))
                except queue.Empty:
                    raise DeadlineExceeded(f"no answer from {address} for {timeout_s:g} s") from None
                if isinstance(reply, ShoalError):
                    raise reply
                again = upload.settle(reply)
                if again is not None:
                    connection.send(again)
            except ShoalError as error:
                if not is_passing(error) or not upload.repeatable:
                    raise
                attempt += 1
                elapsed_s = time.monotonic() - progress_at_s
                pause_s = policy.pause_s(attempt, elapsed_s, timeout_s - elapsed_s, rng, error.retry_after_s or 0.0)
                if pause_s is None:
                    raise
                connection.close(kindly=False)
                time.sleep(pause_s)
                connection = _Connection(stubs, address)
                for message in upload.unanswered():
                    connection.send(message)
            else:
                progress_at_s, attempt = time.monotonic(), 0
                tell(upload.progress())

    finished = False
    try:
        for document in documents:
            batch = upload.add(document)
            if batch is not None:
                connection.send(upload.sent(batch))
                settle(lambda: not upload.full and connection.inbox.empty())
        last = upload.cut()
        if last is not None:
            connection.send(upload.sent(last))
        settle(lambda: upload.settled)
        tell(upload.progress())
        finished = True
    finally:
        connection.close(kindly=finished)
