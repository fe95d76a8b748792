"""Returns the memory of large messages to the operating system."""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
LARGE_BYTES = 1024 * 1024
KEPT_BYTES = 8 * 1024 * 1024


def return_large_buffers() -> bool:
    """From now on a buffer above LARGE_BYTES goes back to the operating system as soon as it is freed.

    glibc would raise its limit to 32 MiB after the first large buffers, and keep them in pieces: a gateway that had
    served large writes kept 290 MiB more. False where the C library has no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
