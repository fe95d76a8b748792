"""Reads the tensors of a safetensors file by memory-mapping them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.model import ModelError

FLOATS, WHOLE = ("F32", "F16", "F64", "I8"), ("I32", "I64")
"""The types of float and of integer tensors."""
_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I8": "i1", "I32": "<i4", "I64": "<i8"}
_LARGEST_HEADER = 100_000_000


def tensor_names(file: Path) -> frozenset[str]:
    """The names of the tensors in a safetensors file; empty if it cannot be read."""
    try:
        return frozenset(_header(file)[0])
    except (OSError, ValueError):
        return frozenset()


class TensorFile:
    """The tensors of a safetensors file, memory-mapped; safetensors itself copies them into the memory of each process."""

    def __init__(self, file: Path, name: str) -> None:
        """`name` is the model's name in errors. Raises ModelError when the file cannot be read."""
        self._file, self._name = file, name
        try:
            self._header, self._begin = _header(file)
            self._size = file.stat().st_size
        except (OSError, ValueError) as error:
            raise ModelError(name, f"{file.name} cannot be read: {error}") from error

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._header

    def matrix(self, tensor: str, types: tuple[str, ...] = FLOATS) -> npt.NDArray[Any]:
        """The tensor (rows, columns), not empty, in its type in the file.

        Raises ModelError when it is missing, malformed or not of one of `types`.
        """
        array = self._tensor(tensor, types)
        if array is None:
            raise ModelError(self._name, f"{self._file.name} has no tensor {tensor}")
        if array.ndim != 2 or 0 in array.shape:
            raise ModelError(self._name, f"{tensor} of {self._file.name} has shape {array.shape}, expected rows and columns")
        return array

    def row(self, tensor: str, types: tuple[str, ...]) -> npt.NDArray[Any] | None:
        """The tensor (n,), in its type in the file; None if there is none.

        Raises ModelError when it is malformed or not of one of `types`.
        """
        array = self._tensor(tensor, types)
        if array is not None and array.ndim != 1:
            raise ModelError(
                self._name, f"{tensor} of {self._file.name} has shape {array.shape}, expected one number per token"
            )
        return array

    def _tensor(self, tensor: str, types: tuple[str, ...]) -> npt.NDArray[Any] | None:
        entry = self._header.get(tensor)
        if entry is None:
            return None
        file = self._file.name
        try:
            kind, shape = entry["dtype"], tuple(int(length) for length in entry["shape"])
            first, last = (int(offset) for offset in entry["data_offsets"])
        except (KeyError, TypeError, ValueError):
            raise ModelError(self._name, f"{file} has no valid entry for {tensor}") from None
        if kind not in types:
            raise ModelError(self._name, f"{tensor} of {file} is of type {kind!r}, supported are {', '.join(types)}")
        dtype = np.dtype(_TYPES[kind])
        if last - first != int(np.prod(shape)) * dtype.itemsize or first < 0 or self._begin + last > self._size:
            raise ModelError(self._name, f"{file} is cut short: {tensor} does not fit into it")
        return np.memmap(self._file, dtype, "r", self._begin + first, shape) if last > first else np.zeros(shape, dtype)


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where the bytes of its tensors begin."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        if not 2 <= size <= _LARGEST_HEADER:
            raise ValueError("not a safetensors file")
        header = json.loads(opened.read(size))
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file")
    return header, 8 + size
