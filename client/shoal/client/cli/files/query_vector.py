"""Reads the vector that a search is for from a file or from standard input."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

from shoal.console import Failure
from shoal.records import shown_path

STANDARD_INPUT = "-"
MAX_BYTES = 16 * 1024 * 1024
_NPY = b"\x93NUMPY"


def read_query_vector(path: str) -> list[float]:
    """The numbers in a file, or in standard input for "-": a .npy file, a JSON array, or one number on each line.

    A JSON object with an array "vector" is fine too, as `shoal embed --json` prints. Raises Failure, naming file and place.
    """
    content = _content(path)
    try:
        return vector_of(content)
    except ValueError as error:
        raise Failure(f"{shown_path(path)}: {error}") from error


def vector_of(content: bytes) -> list[float]:
    """The numbers in the content of such a file; raises ValueError, naming the place. No I/O."""
    if content.startswith(_NPY):
        return _from_npy(content)
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"neither .npy nor text: not UTF-8 at byte {error.start}") from None
    if text.startswith(("[", "{")):
        return _from_json(text)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return _numbers([(f"line {number}", _parsed(line)) for number, line in lines if line])


def _content(path: str) -> bytes:
    if path == STANDARD_INPUT:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Failure(f"{shown_path(path)}: longer than {MAX_BYTES} bytes, too long for one vector")
    return content


def _from_npy(content: bytes) -> list[float]:
    import numpy as np

    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"cannot be read as .npy: {' '.join(str(error).split())}") from None
    if array.dtype.kind not in "fiu":
        raise ValueError(f"has type {array.dtype}, not numbers")
    # `shoal embed --output` writes one row for each text.
    row = array[0] if array.ndim == 2 and len(array) == 1 else array
    if row.ndim != 1:
        raise ValueError(f"has shape {array.shape}, not that of one vector")
    return _numbers([(f"[{index}]", value) for index, value in enumerate(row.tolist())])


def _from_json(text: str) -> list[float]:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if isinstance(value, dict):
        value = value.get("vector")
    if not isinstance(value, list):
        raise ValueError("not an array of numbers, nor an object with one as 'vector'")
    return _numbers([(f"[{index}]", item) for index, item in enumerate(value)])


def _parsed(line: str) -> object:
    try:
        return float(line)
    except ValueError:
        return line


def _numbers(items: list[tuple[str, object]]) -> list[float]:
    if not items:
        raise ValueError("no numbers")
    numbers: list[float] = []
    for place, item in items:
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise ValueError(f"{place}: {item!r:.40} is not a number")
        try:
            number = float(item)
        except OverflowError:
            raise ValueError(f"{place}: a number too large for a float") from None
        if not math.isfinite(number):
            raise ValueError(f"{place}: {number} is not a finite number")
        numbers.append(number)
    return numbers
