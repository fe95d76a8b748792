"""An encoder engine whose calls a test observes, holds back and counts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from shoal.workers.encoding.engine.engine import EncoderEngine
from shoal.workers.encoding.engine.pending_request import Answer
from shoal.workers.encoding.engine.scheduler import Priority
from shoal.workers.encoding.model import AS_DOCUMENT, EncodeOptions


class WatchedEngine:
    """Wraps an engine's `submit`; `hold` keeps answers back until `release`."""

    def __init__(self, engine: EncoderEngine) -> None:
        self._submit = engine.submit
        self._gate = threading.Event()
        self._gate.set()
        self.calls: list[list[str]] = []
        self.options: list[EncodeOptions] = []
        self.priorities: list[Priority | None] = []
        self.errors: list[Exception] = []
        """Raised by the next calls, in place of an answer."""
        self.cancelled = 0
        engine.submit = self.submit  # type: ignore[method-assign]

    def hold(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    def submit(
        self,
        texts: Sequence[str],
        options: EncodeOptions = AS_DOCUMENT,
        priority: Priority | None = None,
        **others: Any,
    ) -> Future[Answer]:
        self.calls.append(list(texts))
        self.options.append(options)
        self.priorities.append(priority)
        if self.errors:
            raise self.errors.pop(0)
        inner = self._submit(texts, options, priority, **others)
        if self._gate.is_set():
            return inner
        outer: Future[Answer] = Future()

        def pass_on() -> None:
            self._gate.wait(10)
            if outer.set_running_or_notify_cancel():
                outer.set_result(inner.result(10))

        def note(done: Future[Answer]) -> None:
            if done.cancelled():
                self.cancelled += 1

        outer.add_done_callback(note)
        threading.Thread(target=pass_on, daemon=True).start()
        return outer
