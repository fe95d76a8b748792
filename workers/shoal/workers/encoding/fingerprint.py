"""The identity of a model: a hash of the bytes and settings that decide its vectors, independent of its path."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Increased when a new version of Shoal computes different vectors from the same text and weights.
PREPROCESSING_REVISION = 1

_TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
# Where a model came from, and which version saved it, does not decide its vectors.
_CONFIG_PROVENANCE = ("_name_or_path", "transformers_version")
_CHUNK_BYTES = 1 << 20


def folder_fingerprint(folder: Path, settings: Mapping[str, Any], more: Sequence[Path] = ()) -> str:
    """Hex digest (32 characters) of the weights, tokenizer and config of a Hugging Face folder, `settings`, and the files
    of `more` in their order.

    `settings` has everything else that decides the vectors (pooling, prompts, limits) as JSON values. File names count,
    folder names do not. Raises OSError when a file cannot be read and ValueError when config.json is not valid JSON.
    """
    digest = hashlib.blake2b(digest_size=16)
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8")) if config_file.is_file() else {}
    kept = {key: value for key, value in config.items() if key not in _CONFIG_PROVENANCE}
    _add(digest, "settings", {"revision": PREPROCESSING_REVISION, "config": kept, **settings})
    files = [*sorted(folder.glob("*.safetensors")), *(folder / name for name in _TOKENIZER_FILES), *more]
    for path in files:
        if path.is_file():
            _add_file(digest, path, path.name)
    return digest.hexdigest()


def file_fingerprint(file: Path, settings: Mapping[str, Any], more: Sequence[Path] = ()) -> str:
    """Hex digest (32 characters) of a file's bytes, `settings`, and the bytes of `more` in their order; names do not count.

    Raises OSError if a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    _add(digest, "settings", {"revision": PREPROCESSING_REVISION, **settings})
    for path in (file, *more):
        _add_file(digest, path, "")
    return digest.hexdigest()


def _add_file(digest: "hashlib.blake2b", path: Path, name: str) -> None:
    _add(digest, "file", {"name": name, "bytes": path.stat().st_size})
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)


def _add(digest: "hashlib.blake2b", kind: str, value: Mapping[str, Any]) -> None:
    line = json.dumps([kind, value], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    digest.update(line.encode() + b"\n")
