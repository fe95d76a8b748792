"""Texts to token ids with a model's own tokenizer, cut to what the model reads.

The cost follows what is read, not how long a text is.
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

from shoal.workers.encoding.model import ModelError, Truncation
from shoal.workers.runtime import typed_error_line

# A first cut that prose of `max_tokens` tokens seldom falls short of; a text that does is read again, further.
_CHARACTERS_PER_TOKEN = 6
_READ_FURTHER = 2
_FEWEST_CHARACTERS = 1024
# A cut inside a word may turn what is left of it into other tokens: WordPiece takes apart no word of over 100 characters.
_DOUBTFUL_TOKENS = 128
_PROMPTS_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """The ids that a model reads for one text."""

    ids: npt.NDArray[np.int32]
    """(tokens,) int32, those of special tokens and of the prompt included."""
    type_ids: npt.NDArray[np.int32] | None
    """(tokens,) int32; None where all are 0."""
    truncated: bool
    prompt_tokens: int
    """How many of the first tokens are the prompt and what stands before it; 0 without a prompt."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    text: str
    leading: int
    """Its tokens, with the special ones before it."""
    alone: int
    """Its tokens, with all special ones."""


class PromptTooLong(ValueError):
    """A prompt leaves nothing of what the model reads to the text."""


def character_cut(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, cut between words where a blank is near, so that no word is read in part."""
    if len(text) <= limit:
        return text
    for end in range(limit, limit - limit // 8, -1):
        if text[end].isspace():
            return text[:end]
    return text[:limit]


def character_tail(text: str, limit: int) -> str:
    """The last characters of `text`, at most `limit`, cut like `character_cut`."""
    if len(text) <= limit:
        return text
    first = len(text) - limit
    for start in range(first, first + limit // 8):
        if text[start].isspace():
            return text[start:]
    return text[first:]


class Tokenizer:
    """A tokenizer of the tokenizers library, without padding. Any number of threads may use it at once."""

    def __init__(
        self,
        backend: Any,
        special_ids: frozenset[int] = frozenset(),
        stated_limit: int | None = None,
        add_special: bool = True,
        lower_case: bool = False,
    ) -> None:
        """Takes over `backend`, a tokenizers.Tokenizer. `special_ids` are those of all special tokens; `stated_limit` is the
        number of tokens that its files allow; texts are framed by special tokens if `add_special`."""
        # Never changed again, for that would raise errors in threads that read. So texts are cut here, not by the backend.
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._add_special = add_special
        self._lower_case = lower_case
        self._special_ids = special_ids
        self._max_tokens = 0
        self._measured = lru_cache(_PROMPTS_REMEMBERED)(self._measure)
        self.stated_limit = stated_limit
        self.special_tokens: int = backend.num_special_tokens_to_add(False) if add_special else 0
        # Type ids follow from the frame alone, and most tokenizers have none but 0.
        self._typed = any(self._read(["a"])[0].type_ids)

    def limit(self, max_tokens: int) -> None:
        """Sets how many tokens of a text are kept, special ones included. Call this before `tokenize`."""
        self._max_tokens = max_tokens

    def tokenize(
        self, texts: Sequence[str], prompt: str = "", truncation: Truncation = Truncation.END
    ) -> list[TokenizedText]:
        """One entry for each text, in order, each with `prompt` before it. What is cut is text, never the prompt.

        With Truncation.REFUSE a text that is `truncated` is cut like one of Truncation.END. Raises PromptTooLong, and what
        the tokenizer raises when a text breaks it.
        """
        before = self._measured(prompt) if prompt else _Prompt("", 0, self.special_tokens)
        if prompt and before.alone >= self._max_tokens:
            raise PromptTooLong(f"the prompt alone takes {before.alone} tokens of {self._max_tokens} that the model reads")
        cut_start = truncation is Truncation.START
        results: list[TokenizedText | None] = [None] * len(texts)
        pending = list(range(len(texts)))
        characters = max(_FEWEST_CHARACTERS, self._max_tokens * _CHARACTERS_PER_TOKEN)
        while pending:
            cuts = [_cut(texts[index], characters, cut_start) for index in pending]
            further: list[int] = []
            for index, cut, encoding in zip(pending, cuts, self._read([prompt + cut for cut in cuts]), strict=True):
                text = texts[index]
                if len(cut) < len(text) and len(encoding) <= self._max_tokens + _doubtful(text, cut, cut_start):
                    further.append(index)
                    continue
                results[index] = self._kept(encoding, before, cut_start)
            pending = further
            characters *= _READ_FURTHER
        return [result for result in results if result is not None]

    def vocabulary(self) -> Iterator[str]:
        """The texts of its tokens, by id."""
        for token in range(self._backend.get_vocab_size()):
            yield self._backend.decode([token]).strip()

    def _kept(self, encoding: Any, prompt: _Prompt, cut_start: bool) -> TokenizedText:
        ids = np.array(encoding.ids, dtype=np.int32)
        types = np.array(encoding.type_ids, dtype=np.int32) if self._typed else None
        cut = len(ids) - self._max_tokens
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
        ids = self._read([prompt])[0].ids
        # As sentence-transformers counts, which knows no more than one special token behind a text.
        closed = bool(ids) and ids[-1] in self._special_ids
        return _Prompt(prompt, len(ids) - closed, len(ids))

    def _read(self, texts: Sequence[str]) -> list[Any]:
        if self._lower_case:
            texts = [text.lower() for text in texts]
        return self._backend.encode_batch_fast(texts, add_special_tokens=self._add_special)


def transformer_tokenizer(folder: Path, name: str, lower_case: bool = False) -> Tokenizer:
    """The tokenizer in a transformer's folder. Raises ModelError when the tokenizers library cannot run it."""
    from transformers import AutoTokenizer

    try:
        loaded: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelError(name, f"the tokenizer cannot be loaded: {error}") from error
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(name, f"{type(loaded).__name__} has no fast form")
    # Tokenizers that state no limit hold a huge number.
    stated = loaded.model_max_length if loaded.model_max_length < 1_000_000 else None
    return Tokenizer(backend, frozenset(loaded.all_special_ids), stated, lower_case=lower_case)


def plain_tokenizer(file: Path, name: str) -> tuple[Tokenizer, int | None]:
    """The tokenizer in a tokenizer.json, without special tokens around a text, and the id for what it does not know, if any.

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


def _doubtful(text: str, cut: str, cut_start: bool) -> int:
    """How many tokens at the cut may be others than those of the whole text."""
    beside = cut[0] if cut_start else text[len(cut)]
    return 0 if beside.isspace() else _DOUBTFUL_TOKENS


def _ones(mask: Any) -> int:
    return sum(1 for _ in takewhile(bool, mask))
