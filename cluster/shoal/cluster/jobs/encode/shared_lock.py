"""A lock with shared and exclusive holders."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """A waiting exclusive holder goes before later shared ones, so that it does not wait forever."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = False
        self._wanted_alone = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Holds the lock together with other shared holders."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._wanted_alone)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the lock exclusively."""
        with self._changed:
            self._wanted_alone += 1
            self._changed.wait_for(lambda: not self._alone and not self._sharing)
            self._wanted_alone -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
