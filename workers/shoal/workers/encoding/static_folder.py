"""Reads folders of static embeddings: those that model2vec writes, and StaticEmbedding of sentence-transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.sentence_config import SentenceConfig, read_sentence_config
from shoal.workers.encoding.sentence_files import MODULES_FILE
from shoal.workers.encoding.vector_table import ArrayRows, VectorTable

WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
# What model2vec reads of a text, unless its config says otherwise.
_MODEL2VEC_MAX_TOKENS = 512
_MODEL2VEC_TABLE, _SENTENCE_TABLE = "embeddings", "embedding.weight"
_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I8": "i1", "I32": "<i4", "I64": "<i8"}
_FLOATS, _WHOLE = ("F32", "F16", "F64", "I8"), ("I32", "I64")
_LARGEST_HEADER = 100_000_000


@dataclass(frozen=True, slots=True)
class StaticFolder:
    """A folder with a table of token vectors."""

    inner: Path
    """Where table and tokenizer lie."""
    table: VectorTable
    config: SentenceConfig
    max_tokens: int | None
    """None where the files set no limit."""
    without_unknown: bool
    """Whether the tokens that the tokenizer calls unknown are passed over."""


def static_part(folder: Path) -> Path | None:
    """Where in a model folder a static table lies; None for a model of another kind. Malformed files are of another kind."""
    try:
        listed = json.loads((folder / MODULES_FILE).read_text(encoding="utf-8"))
        first, path = str(listed[0]["type"]), str(listed[0]["path"])
    except FileNotFoundError:
        return folder if _MODEL2VEC_TABLE in _header_or_nothing(folder / WEIGHTS_FILE) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return folder / path if first.rpartition(".")[2] == "StaticEmbedding" else None


def read_static_folder(folder: Path, name: str) -> StaticFolder:
    """The table in `folder`, of which `static_part` knows; its vectors stay in the file, mapped.

    Raises ModelError when files are missing or malformed.
    """
    inner = static_part(folder)
    if inner is None:
        raise ModelError(name, "the folder has no static table")
    # First, because this refuses paths that leave the folder.
    plain = not (folder / MODULES_FILE).is_file()
    config = _plain_config() if plain else read_sentence_config(folder, name)
    try:
        tensors = _Tensors(inner / WEIGHTS_FILE, name)
    except (OSError, ValueError) as error:
        raise ModelError(name, f"{WEIGHTS_FILE} cannot be read: {error}") from error
    if _SENTENCE_TABLE in tensors:
        return StaticFolder(inner, VectorTable(ArrayRows(tensors.matrix(_SENTENCE_TABLE))), config, None, False)
    rows = ArrayRows(tensors.matrix(_MODEL2VEC_TABLE))
    mapping = tensors.row("mapping", _WHOLE)
    weights = tensors.row("weights", _FLOATS)
    table = VectorTable(rows, mapping, None if weights is None else weights.astype(np.float32))
    if mapping is not None and len(mapping) and not 0 <= int(mapping.min()) <= int(mapping.max()) < rows.count:
        raise ModelError(name, f"mapping of {WEIGHTS_FILE} names rows outside of 0 to {rows.count - 1}")
    if weights is not None and len(weights) != table.count:
        raise ModelError(name, f"{WEIGHTS_FILE} has weights for {len(weights)} tokens of {table.count}")
    own = _config(inner, name)
    if plain:
        config = _plain_config(bool(own.get("normalize", False)))
    limit = own.get("max_length", _MODEL2VEC_MAX_TOKENS)
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ModelError(name, f"max_length of config.json is {limit!r}, the least is 1")
    return StaticFolder(inner, table, config, limit, True)


def _plain_config(normalize: bool = False) -> SentenceConfig:
    return SentenceConfig("", (), normalize, None, False, "", "", static=True)


def _config(folder: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(name, f"config.json cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(name, f"config.json holds {type(config).__name__}, not an object")
    return config


def _header_or_nothing(file: Path) -> dict[str, Any]:
    try:
        return _header(file)[0]
    except (OSError, ValueError):
        return {}


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its tensors, and where their bytes begin."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        if not 2 <= size <= _LARGEST_HEADER:
            raise ValueError("this is no safetensors file")
        header = json.loads(opened.read(size))
    if not isinstance(header, dict):
        raise ValueError("this is no safetensors file")
    return header, 8 + size


class _Tensors:
    """The tensors of a safetensors file, mapped; safetensors itself copies them into the memory of each process."""

    def __init__(self, file: Path, name: str) -> None:
        self._file, self._name = file, name
        self._header, self._begin = _header(file)
        self._size = file.stat().st_size

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._header

    def matrix(self, tensor: str) -> npt.NDArray[Any]:
        array = self._tensor(tensor, _FLOATS)
        if array is None:
            raise ModelError(self._name, f"{WEIGHTS_FILE} has no tensor {_MODEL2VEC_TABLE} or {_SENTENCE_TABLE}")
        if array.ndim != 2 or 0 in array.shape:
            raise ModelError(self._name, f"{tensor} of {WEIGHTS_FILE} has shape {array.shape}, expected are rows and places")
        return array

    def row(self, tensor: str, types: tuple[str, ...]) -> npt.NDArray[Any] | None:
        array = self._tensor(tensor, types)
        if array is not None and array.ndim != 1:
            raise ModelError(
                self._name, f"{tensor} of {WEIGHTS_FILE} has shape {array.shape}, expected is one number a token"
            )
        return array

    def _tensor(self, tensor: str, types: tuple[str, ...]) -> npt.NDArray[Any] | None:
        told = self._header.get(tensor)
        if told is None:
            return None
        try:
            kind, shape = told["dtype"], tuple(int(length) for length in told["shape"])
            first, last = (int(place) for place in told["data_offsets"])
        except (KeyError, TypeError, ValueError):
            raise ModelError(self._name, f"{WEIGHTS_FILE} does not say where {tensor} lies") from None
        if kind not in types:
            raise ModelError(self._name, f"{tensor} of {WEIGHTS_FILE} is of type {kind!r}, supported are {', '.join(types)}")
        dtype = np.dtype(_TYPES[kind])
        if last - first != int(np.prod(shape)) * dtype.itemsize or first < 0 or self._begin + last > self._size:
            raise ModelError(self._name, f"{WEIGHTS_FILE} is cut off: {tensor} does not fit into it")
        return np.memmap(self._file, dtype, "r", self._begin + first, shape) if last > first else np.zeros(shape, dtype)
