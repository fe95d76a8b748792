"""A model without weights: signed hashing of words, word pairs and character trigrams.

It needs no download and no torch, and computes the same vectors on every machine.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice, pairwise

import numpy as np

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.model import (
    EMPTY_TEXT,
    EmbeddingModel,
    EncodeOptions,
    ModelError,
    Tokenized,
    Truncation,
    Vectors,
    shortened,
    too_long,
)
from shoal.workers.encoding.words import lowered, normal_form, pieces_of

DEFAULT_DIMENSION = 256
MIN_DIMENSION = 8
MAX_DIMENSION = 4096
MAX_WORDS = 512

# Part of the fingerprint: increase it with every change that changes a vector.
_REVISION = 2
_WORD_WEIGHT, _PAIR_WEIGHT, _TRIPLE_WEIGHT = 1024, 512, 256


@lru_cache(maxsize=1 << 17)
def _hash(feature: str) -> int:
    digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _features(words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each distinct feature and its weight, an integer so that sums are exact in any order on any machine."""
    pairs = (f"p {left} {right}" for left, right in pairwise(words))
    framed = (f" {word} " for word in words)
    triples = (f"t{word[start : start + 3]}" for word in framed for start in range(len(word) - 2))
    families = (
        (Counter(f"w{word}" for word in words), _WORD_WEIGHT),
        (Counter(pairs), _PAIR_WEIGHT),
        (Counter(triples), _TRIPLE_WEIGHT),
    )
    for counts, weight in families:
        for feature, count in counts.items():
            yield feature, weight if count == 1 else round(weight * (1.0 + math.log(count)))


class HashingModel(EmbeddingModel):
    """Embeds a text by hashing its features into `dimension` signed sums with sublinear weights, L2-normalised."""

    bounds = BatchBounds(tokens=16_384)

    def __init__(self, dimension: int = DEFAULT_DIMENSION, name: str | None = None) -> None:
        """Raises ModelError unless 8 <= dimension <= 4096."""
        self.name = name if name is not None else f"hashing:{dimension}"
        if not MIN_DIMENSION <= dimension <= MAX_DIMENSION:
            raise ModelError(self.name, f"dimension must be {MIN_DIMENSION} to {MAX_DIMENSION}, not {dimension}")
        self.dimension = dimension
        self.max_tokens = MAX_WORDS
        self.fingerprint = hashlib.blake2b(f"shoal hashing {_REVISION} {dimension}".encode(), digest_size=16).hexdigest()

    def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        """See `EmbeddingModel.tokenize`. A token is a part of a word, at most 32 characters long so that its
        cost is bounded, or another visible character; the roles have no prompts."""
        return [self._tokenized(text, options) for text in texts]

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        """See `EmbeddingModel.forward`."""
        return np.array([self._vector(text.content) for text in batch], dtype=np.float32)

    def finish(self, vectors: Vectors, options: EncodeOptions) -> Vectors:
        """See `EmbeddingModel.finish`."""
        return shortened(vectors, options.dimensions, options.normalize is not False and bool(options.dimensions))

    def _tokenized(self, text: str, options: EncodeOptions) -> Tokenized:
        if not text.strip():
            return Tokenized(0, error=EMPTY_TEXT)
        found = pieces_of(lowered(normal_form((options.prompt or "") + text)))
        if options.truncation is Truncation.START:
            words = list(deque(found, MAX_WORDS + 1))
        else:
            # One word more than the limit shows whether the text is truncated, without scanning a huge text to its end.
            words = list(islice(found, MAX_WORDS + 1))
        if not words:
            return Tokenized(0, error=EMPTY_TEXT)
        truncated = len(words) > MAX_WORDS
        if truncated and options.truncation is Truncation.REFUSE:
            return Tokenized(0, error=too_long(MAX_WORDS))
        kept = words[-MAX_WORDS:] if options.truncation is Truncation.START else words[:MAX_WORDS]
        return Tokenized(len(kept), truncated, content=kept)

    def _vector(self, words: Sequence[str]) -> np.ndarray:
        sums = [0] * self.dimension
        for feature, weight in _features(words):
            hashed = _hash(feature)
            sums[(hashed >> 1) % self.dimension] += weight if hashed & 1 else -weight
        square = sum(value * value for value in sums)
        if square == 0:
            # Features can cancel each other out in few dimensions; then the text as a whole sets one of them.
            hashed = _hash("a " + " ".join(words))
            sums[(hashed >> 1) % self.dimension] = square = 1
        return np.array(sums, dtype=np.float64) / math.sqrt(square)
