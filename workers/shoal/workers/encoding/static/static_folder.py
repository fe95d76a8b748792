"""Reads folders of static embeddings: those of model2vec, and StaticEmbedding of sentence-transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shoal.workers.encoding.json_files import is_count, read_json
from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.transformer.sentence_config import SentenceConfig, read_sentence_config
from shoal.workers.encoding.transformer.sentence_files import MODULES_FILE
from shoal.workers.encoding.transformer.token_limits import StatedLimits
from shoal.workers.encoding.word_vectors.tensor_file import FLOATS, WHOLE, TensorFile, tensor_names
from shoal.workers.encoding.word_vectors.vector_table import ArrayRows, VectorTable

WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
# model2vec's token limit, unless its config states another.
_MODEL2VEC_MAX_TOKENS = 512
_MODEL2VEC_TABLE, _SENTENCE_TABLE = "embeddings", "embedding.weight"


@dataclass(frozen=True, slots=True)
class StaticFolder:
    """A folder with a table of token vectors."""

    inner: Path
    """The folder of the table and the tokenizer."""
    table: VectorTable
    config: SentenceConfig
    max_tokens: int | None
    """None if the files set no limit."""
    without_unknown: bool
    """Whether unknown tokens are skipped."""


def static_part(folder: Path) -> Path | None:
    """The folder of the static table in a model folder; None for another kind of model, or if its files are malformed."""
    try:
        listed = read_json(folder / MODULES_FILE)
        first, path = str(listed[0]["type"]), str(listed[0]["path"])
    except FileNotFoundError:
        return folder if _MODEL2VEC_TABLE in tensor_names(folder / WEIGHTS_FILE) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return folder / path if first.rpartition(".")[2] == "StaticEmbedding" else None


def read_static_folder(folder: Path, name: str) -> StaticFolder:
    """The table in `folder`, which must have a `static_part`. Its vectors are memory-mapped.

    Raises ModelError when files are missing or malformed.
    """
    inner = static_part(folder)
    if inner is None:
        raise ModelError(name, "the folder has no static table")
    # First, because this refuses paths that leave the folder.
    plain = not (folder / MODULES_FILE).is_file()
    config = _plain_config() if plain else read_sentence_config(folder, name)
    tensors = TensorFile(inner / WEIGHTS_FILE, name)
    if _SENTENCE_TABLE not in tensors and _MODEL2VEC_TABLE not in tensors:
        raise ModelError(name, f"{WEIGHTS_FILE} has no tensor {_MODEL2VEC_TABLE} or {_SENTENCE_TABLE}")
    if _SENTENCE_TABLE in tensors:
        return StaticFolder(inner, VectorTable(ArrayRows(tensors.matrix(_SENTENCE_TABLE))), config, None, False)
    rows = ArrayRows(tensors.matrix(_MODEL2VEC_TABLE))
    mapping = tensors.row("mapping", WHOLE)
    weights = tensors.row("weights", FLOATS)
    table = VectorTable(rows, mapping, None if weights is None else weights.astype(np.float32))
    if mapping is not None and len(mapping) and not 0 <= int(mapping.min()) <= int(mapping.max()) < rows.count:
        raise ModelError(name, f"mapping of {WEIGHTS_FILE} has rows outside 0 to {rows.count - 1}")
    if weights is not None and len(weights) != table.count:
        raise ModelError(name, f"{WEIGHTS_FILE} has weights for {len(weights)} tokens, expected {table.count}")
    own = _config(inner, name)
    if plain:
        config = _plain_config(bool(own.get("normalize", False)))
    limit = own.get("max_length", _MODEL2VEC_MAX_TOKENS)
    if limit is not None and not is_count(limit):
        raise ModelError(name, f"max_length of config.json must be an integer of at least 1, not {limit!r}")
    return StaticFolder(inner, table, config, limit, True)


def _plain_config(normalize: bool = False) -> SentenceConfig:
    return SentenceConfig("", (), normalize, StatedLimits(), False, "", "", static=True)


def _config(folder: Path, name: str) -> dict[str, Any]:
    try:
        config = read_json(folder / "config.json")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(name, f"config.json cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(name, f"config.json holds {type(config).__name__}, not an object")
    return config
