"""Defers SIGINT and SIGTERM to a moment when they can be handled: between two rounds."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """A context manager for the main thread: the first SIGINT or SIGTERM is only noted, the second has its usual effect.

    A signal without a Python handler is left alone, such as SIGTERM by default: it ends the process.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._noted: int | None = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    @property
    def noted(self) -> bool:
        """Whether a signal arrived."""
        return self._noted is not None

    def answer(self) -> None:
        """Calls the handler of the noted signal, which usually raises KeyboardInterrupt."""
        if self._noted is not None:
            number, handler = self._noted, self._handlers.get(self._noted)
            self._restore()
            if handler is not None:
                handler(number, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is None:
            self._noted = number
            return
        handler = self._handlers[number]
        self._restore()
        handler(number, frame)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
