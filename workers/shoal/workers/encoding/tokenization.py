"""Texts to token ids with a model's own tokenizer, cut to what the model reads.

The cost follows what is read, not how long a text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from shoal.workers.encoding.model import ModelError

# A first cut that almost no text of `max_tokens` tokens passes; those that do are read again, further.
_CHARACTERS_PER_TOKEN = 16
_READ_FURTHER = 8


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """The ids that a model reads for one text."""

    ids: list[int]
    type_ids: list[int]
    truncated: bool


def character_cut(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, cut between words where a blank is near, so that no word is read in part."""
    if len(text) <= limit:
        return text
    for end in range(limit, limit - limit // 8, -1):
        if text[end].isspace():
            return text[:end]
    return text[:limit]


class Tokenizer:
    """A Hugging Face fast tokenizer, special tokens included, without padding."""

    def __init__(self, folder: Path, name: str) -> None:
        """Raises ModelError when the folder has no tokenizer that the tokenizers library can run."""
        try:
            loaded: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:
            raise ModelError(name, f"the tokenizer cannot be loaded: {error}") from error
        backend = getattr(loaded, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(name, f"{type(loaded).__name__} has no fast form")
        self._backend = backend
        self._backend.no_padding()
        self._direction = loaded.truncation_side
        self._max_tokens = 0
        # Without a padding token any id will do: masks hide it.
        self.pad_id: int = loaded.pad_token_id if loaded.pad_token_id is not None else 0
        # Tokenizers that state no limit hold a huge number.
        self.stated_limit: int | None = loaded.model_max_length if loaded.model_max_length < 1_000_000 else None
        self.special_tokens: int = loaded.num_special_tokens_to_add(pair=False)

    def limit(self, max_tokens: int) -> None:
        """Sets how many tokens of a text are kept, special ones included. Call this before `tokenize`."""
        self._max_tokens = max_tokens
        self._backend.enable_truncation(max_length=max_tokens, stride=0, strategy="longest_first", direction=self._direction)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """One entry for each text, in order. Raises what the tokenizer raises when a text breaks it."""
        results: list[TokenizedText | None] = [None] * len(texts)
        pending = list(range(len(texts)))
        characters = self._max_tokens * _CHARACTERS_PER_TOKEN
        while pending:
            cuts = [self._cut(texts[index], characters) for index in pending]
            encodings = self._backend.encode_batch_fast(cuts, add_special_tokens=True)
            further: list[int] = []
            for index, cut, encoding in zip(pending, cuts, encodings, strict=True):
                truncated = bool(encoding.overflowing)
                if not truncated and len(cut) < len(texts[index]):
                    further.append(index)
                    continue
                results[index] = TokenizedText(encoding.ids, encoding.type_ids, truncated)
            pending = further
            characters *= _READ_FURTHER
        return [result for result in results if result is not None]

    def _cut(self, text: str, characters: int) -> str:
        # A tokenizer that keeps the end of a text needs all of it.
        return text if self._direction == "left" else character_cut(text, characters)
