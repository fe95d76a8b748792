"""Turns texts into token ids with a model's own tokenizer, truncated to the model's limit.

The cost depends on the limit, not on the length of a text: only the part of a text that may be kept is tokenized.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.json_files import is_count, whole
from shoal.workers.encoding.model import ModelError, Truncation
from shoal.workers.runtime import typed_error_line

# The first cut seldom leaves prose with too few tokens; if it does, the text is tokenized again with a later cut.
_CHARACTERS_PER_TOKEN = 6
_CUT_GROWTH = 2
_MIN_CHARACTERS = 1024
# A cut inside a word may change its tokens: WordPiece does not split words of over 100 characters.
_UNCERTAIN_TOKENS = 128
_CACHED_PROMPTS = 256
# transformers writes 1e30 for no limit, and takes any number above this for it.
_MOST_STATED = 10**20


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """The token ids of one text."""

    ids: npt.NDArray[np.int32]
    """(tokens,) int32, including special tokens and prompt."""
    type_ids: npt.NDArray[np.int32] | None
    """(tokens,) int32; None if all are 0."""
    truncated: bool
    prompt_tokens: int
    """Number of leading tokens up to the end of the prompt; 0 without a prompt."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    text: str
    leading: int
    """Its tokens, with the special tokens before it."""
    alone: int
    """Its tokens, with all special tokens."""


class PromptTooLong(ValueError):
    """A prompt leaves no room for a text within the model's limit."""


def character_cut(text: str, limit: int) -> str:
    """The first characters of `text`, at most `limit`; cut at white space if there is some near the limit."""
    if len(text) <= limit:
        return text
    for end in range(limit, limit - limit // 8, -1):
        if text[end].isspace():
            return text[:end]
    return text[:limit]


def character_tail(text: str, limit: int) -> str:
    """The last characters of `text`, at most `limit`; cut like `character_cut`."""
    if len(text) <= limit:
        return text
    first = len(text) - limit
    for start in range(first, first + limit // 8):
        if text[start].isspace():
            return text[start:]
    return text[first:]


class Tokenizer:
    """A tokenizer of the tokenizers library, without padding. Thread-safe."""

    def __init__(
        self,
        backend: Any,
        special_ids: frozenset[int] = frozenset(),
        stated_limit: int | None = None,
        add_special: bool = True,
    ) -> None:
        """Takes ownership of `backend`, a tokenizers.Tokenizer. `special_ids` are the ids of all special tokens;
        `stated_limit` is the token limit in its files; `add_special` adds special tokens around a text."""
        # Never changed later: that would raise errors in threads that tokenize. So texts are truncated here, not by the
        # backend.
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._add_special = add_special
        self._special_ids = special_ids
        self._max_tokens = 0
        self._measured = lru_cache(_CACHED_PROMPTS)(self._measure)
        self.stated_limit = stated_limit
        self.special_tokens: int = backend.num_special_tokens_to_add(False) if add_special else 0
        # Type ids do not depend on the text, and most tokenizers use only 0.
        self._typed = any(self._encode(["a"])[0].type_ids)

    def limit(self, max_tokens: int) -> None:
        """Sets the usual token limit of a text, including special tokens. Call this before `tokenize`."""
        self._max_tokens = max_tokens

    def tokenize(
        self, texts: Sequence[str], prompt: str = "", truncation: Truncation = Truncation.END, limit: int = 0
    ) -> list[TokenizedText]:
        """The tokens of each text, in order, with `prompt` before it. Only the text is truncated, never the prompt, to
        `limit` tokens if that is not 0.

        Truncation.REFUSE truncates like END, and the caller checks `truncated`. Raises PromptTooLong, and whatever the
        tokenizer raises for a text.
        """
        before = self._measured(prompt) if prompt else _Prompt("", 0, self.special_tokens)
        limit = limit or self._max_tokens
        if prompt and before.alone >= limit:
            raise PromptTooLong(f"the prompt alone has {before.alone} tokens, the model's limit is {limit}")
        cut_start = truncation is Truncation.START
        results: list[TokenizedText | None] = [None] * len(texts)
        pending = list(range(len(texts)))
        characters = max(_MIN_CHARACTERS, limit * _CHARACTERS_PER_TOKEN)
        while pending:
            cuts = [_cut(texts[index], characters, cut_start) for index in pending]
            too_short: list[int] = []
            for index, cut, encoding in zip(pending, cuts, self._encode([prompt + cut for cut in cuts]), strict=True):
                text = texts[index]
                if len(cut) < len(text) and len(encoding) <= limit + _uncertain(text, cut, cut_start):
                    too_short.append(index)
                    continue
                results[index] = self._truncated(encoding, before, cut_start, limit)
            pending = too_short
            characters *= _CUT_GROWTH
        return [result for result in results if result is not None]

    def vocabulary(self) -> Iterator[str]:
        """The text of each token, in the order of ids."""
        for token in range(self._backend.get_vocab_size()):
            yield self._backend.decode([token]).strip()

    def _truncated(self, encoding: Any, prompt: _Prompt, cut_start: bool, limit: int) -> TokenizedText:
        ids = np.array(encoding.ids, dtype=np.int32)
        types = np.array(encoding.type_ids, dtype=np.int32) if self._typed else None
        cut = len(ids) - limit
        if cut > 0:
            special = encoding.special_tokens_mask
            if cut_start:
                first = prompt.leading or _ones(special)
            else:
                first = len(ids) - _ones(reversed(special)) - cut
            ids = np.concatenate((ids[:first], ids[first + cut :]))
            types = None if types is None else np.concatenate((types[:first], types[first + cut :]))
        return TokenizedText(ids, types, cut > 0, prompt.leading)

    def _measure(self, prompt: str) -> _Prompt:
        ids = self._encode([prompt])[0].ids
        # Counted as in sentence-transformers, which expects at most one special token after a text.
        closed = bool(ids) and ids[-1] in self._special_ids
        return _Prompt(prompt, len(ids) - closed, len(ids))

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        return self._backend.encode_batch_fast(texts, add_special_tokens=self._add_special)


def transformer_tokenizer(folder: Path, name: str, lower_case: bool = False) -> Tokenizer:
    """The tokenizer in a transformer's folder. Raises ModelError when it has no fast version or cannot be loaded."""
    from transformers import AutoTokenizer

    from shoal.workers.encoding.networks.pretrained import read_config

    try:
        loaded: Any = AutoTokenizer.from_pretrained(
            folder, config=read_config(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ModelError(name, f"the tokenizer cannot be loaded: {typed_error_line(error)}") from error
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(name, f"{type(loaded).__name__} has no fast version")
    stated = whole(loaded.model_max_length)
    if not is_count(stated):
        raise ModelError(name, f"model_max_length of the tokenizer must be an integer of at least 1, not {stated!r}")
    # A huge number means that the tokenizer states no limit.
    stated = stated if stated <= _MOST_STATED else None
    if lower_case:
        _add_lower_case(backend)
    return Tokenizer(backend, frozenset(loaded.all_special_ids), stated)


def _add_lower_case(backend: Any) -> None:
    """Puts lower-casing before the normalizer, as sentence-transformers does, so that special tokens in a text are found as
    they are written."""
    from tokenizers.normalizers import Lowercase, Sequence

    own = backend.normalizer
    backend.normalizer = Lowercase() if own is None else Sequence([Lowercase(), own])


def plain_tokenizer(file: Path, name: str) -> tuple[Tokenizer, int | None]:
    """The tokenizer in a tokenizer.json, without special tokens around a text, and the id of its unknown token, if any.

    Raises ModelError when the file cannot be read.
    """
    import tokenizers

    try:
        backend = tokenizers.Tokenizer.from_file(str(file))
        model = json.loads(backend.to_str())["model"]
    except Exception as error:
        raise ModelError(name, f"the tokenizer cannot be loaded: {typed_error_line(error)}") from error
    unknown = model.get("unk_id")
    if unknown is None and model.get("unk_token") is not None:
        unknown = backend.token_to_id(model["unk_token"])
    return Tokenizer(backend, add_special=False), unknown


def _cut(text: str, characters: int, cut_start: bool) -> str:
    return character_tail(text, characters) if cut_start else character_cut(text, characters)


def _uncertain(text: str, cut: str, cut_start: bool) -> int:
    """How many tokens at the cut may differ from those of the whole text."""
    boundary = cut[0] if cut_start else text[len(cut)]
    return 0 if boundary.isspace() else _UNCERTAIN_TOKENS


def _ones(mask: Any) -> int:
    return sum(1 for _ in takewhile(bool, mask))
