"""Large buffers go back to the operating system."""

from __future__ import annotations

import subprocess
import sys

import pytest

# After a large buffer was freed, glibc keeps smaller ones: here 20 MB.
PROGRAM = """
import os, sys
from shoal.workers.runtime import return_large_buffers

def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if not return_large_buffers():
    sys.exit("no mallopt")
before = resident()
behind = []
for megabytes in (30, 20, 19, 18, 17):
    buffer = b"x" * (megabytes * 1_000_000)
    behind.append(bytearray(100_000))
    del buffer
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_buffers_are_returned() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    if run.stderr.strip() == "no mallopt":
        pytest.skip("this C library has no mallopt")
    assert int(run.stdout) < 10_000_000
