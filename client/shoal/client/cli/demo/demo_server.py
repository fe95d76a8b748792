"""The demo's server, a child process: started, asked for its address, and stopped with all its processes."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from shoal.console import Failure

READY_S = 180.0
STOP_S = 30.0
LOG_LINES = 20


def serve_command(data: Path) -> list[str]:
    """The command that serves `data` on a free port of this machine."""
    shoal = [sys.executable, "-m", "shoal.client.cli"]
    return [*shoal, "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--json"]


class DemoServer:
    """Runs during the `with` block. `log` receives the server's stderr."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> DemoServer:
        try:
            with self._log.open("w") as log, _signals_held():
                # In its own session, so that Ctrl-C reaches only the demo, which then stops the server cleanly.
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                )
                threading.Thread(target=self._read, args=(self._process,), name="shoal-demo", daemon=True).start()
        except BaseException:
            # The `with` block, which would stop the server, has not begun.
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    def address(self) -> str:
        """Waits for the ready event and returns its address; raises Failure if the server ends or takes too long."""
        while True:
            try:
                line = self._lines.get(timeout=READY_S)
            except queue.Empty:
                raise Failure(f"the server was not ready after {READY_S:g} s") from None
            if not line:
                raise Failure(f"the server ended before it was ready, with exit code {self._exit_code()}")
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") == "ready":
                return str(event["address"])

    def stop(self) -> int | None:
        """Stops the server with SIGTERM, or SIGKILL if that takes too long; returns its exit code."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            # The whole session: the server may have started other processes.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        return self._process.returncode

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _exit_code(self) -> int | None:
        assert self._process is not None
        return self._process.wait(STOP_S)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._lines.put(line)
        self._lines.put("")


@contextmanager
def _signals_held() -> Iterator[None]:
    """Delays signals that end the demo to the end of the block, in which a server starts that is not yet known."""
    # Signals are not blocked: the server would inherit that, and could not be stopped. Only the main thread gets signals.
    # An ignored signal stays ignored, here and in the server.
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if main else ()
    before = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in noted:
            signal.raise_signal(number)
