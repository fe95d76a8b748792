"""The one-line error from a traceback of Ray."""

from __future__ import annotations

import pytest

from shoal.cluster.ray_runtime.error_lines import ray_error_line

TRACEBACK = """\x1b[36mray::LearnerActor.train()\x1b[39m (pid=7)
  File "learner.py", line 3, in train
    raise ValueError(
shoal.workers.SomeError: the disk is full
The actor died. See its logs.
"""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (TRACEBACK, "shoal.workers.SomeError: the disk is full"),
        ("KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("\n  The node was lost.\nIt had no name.", "The node was lost."),
        ("", "RuntimeError"),
        ("\x1b[31mTypeError: " + "x" * 400, "TypeError: " + "x" * 289),
    ],
)
def test_the_last_named_exception_is_the_one_reported(message: str, line: str) -> None:
    assert ray_error_line(RuntimeError(message)) == line
