"""Compiles loops with numba; they release the GIL and are cached on disk for the next process."""

from __future__ import annotations

from typing import Any

from numba import njit


def compiled(function: Any, **options: Any) -> Any:
    """Compiles a function with numba; it releases the GIL and is cached on disk. `options` are those of numba.njit."""
    options = {"fastmath": True, "nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither this file's folder nor the user's cache is writable: each process compiles for itself.
        return njit(**options)(function)


def inlined(function: Any) -> Any:
    """Compiles a function into the compiled functions that call it."""
    return compiled(function, inline="always")
