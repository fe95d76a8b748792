"""File locks: held by one process, dropped with it, and distinguished from file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shoal.workers.runtime.file_locks import LockHeld, lock_file, locked_folder

HOLD = "import sys, time; from pathlib import Path; from shoal.workers.runtime.file_locks import lock_file\n"
HOLD += "held = lock_file(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


def test_a_lock_is_held_by_one_process_and_dropped_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(LockHeld) as caught:
                lock_file(path)
            assert caught.value.holder == str(holder.pid)
        finally:
            holder.send_signal(signal.SIGKILL)
    with lock_file(path):
        assert path.read_text() == str(os.getpid())


def test_a_waiter_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    held = lock_file(tmp_path / "a.lock")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lock_file, tmp_path / "a.lock", wait=True)
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        held.close()
        waiting.result(10).close()


def test_a_locked_folder_is_locked_until_the_block_ends(tmp_path: Path) -> None:
    with locked_folder(tmp_path), pytest.raises(LockHeld), locked_folder(tmp_path):
        pass
    with locked_folder(tmp_path):
        pass


def test_a_file_system_without_locks_is_not_a_held_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"):
        lock_file(tmp_path / "a.lock")
