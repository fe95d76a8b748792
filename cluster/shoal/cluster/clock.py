"""The wall clock, read here only: everything else gets the time as an argument or uses its event loop's clock."""

import time


def wall_clock_ms() -> int:
    """Milliseconds since 1970, the ledger's unit of time."""
    return time.time_ns() // 1_000_000


def wall_clock_s() -> float:
    """Seconds since 1970, the unit of file times."""
    return time.time()
