"""Compiling with numba: loops that hold no GIL, kept on disk for the next process."""

from __future__ import annotations

from typing import Any

from numba import njit


def compiled(function: Any, **options: Any) -> Any:
    """The function as a compiled one that holds no GIL, kept on disk for the next process."""
    options = {"fastmath": True, "nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither the folder of this file nor the user's own can be written: each process then compiles for itself.
        return njit(**options)(function)


def inlined(function: Any) -> Any:
    """The function as part of the compiled ones that call it."""
    return compiled(function, inline="always")
