"""A model folder in memory: its tokenizer, its network, and the modules that make one vector of a text's hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shoal.workers.encoding.batching import run_isolated
from shoal.workers.encoding.fingerprint import folder_fingerprint
from shoal.workers.encoding.model import (
    AS_DOCUMENT,
    EMPTY_TEXT,
    DeviceLost,
    EmbeddingModel,
    EncodeOptions,
    ModelError,
    Tokenized,
    Vectors,
    one_line,
    shortened,
)
from shoal.workers.encoding.network import FlatBatch, Network
from shoal.workers.encoding.network_building import build_network
from shoal.workers.encoding.pooling import pool
from shoal.workers.encoding.precision import PROBE_TEXTS, Precision
from shoal.workers.encoding.sentence_config import SentenceConfig, read_sentence_config
from shoal.workers.encoding.tokenization import TokenizedText, Tokenizer

# For models whose files state no limit at all.
_DEFAULT_MAX_TOKENS = 512


class TransformerModel(EmbeddingModel):
    """A transformer with its pooling, from Hugging Face safetensors."""

    def __init__(
        self, folder: Path, name: str, threads: int, device: str | None = None, precision: Precision | None = None
    ) -> None:
        """Reads the model in `folder`; `threads` bounds the CPU cores used, `device` is torch's name for one.

        `precision` None takes the fastest that the device has; any but float32 must pass the gate of `precision.choose`.
        Raises ModelError when files are missing or malformed, or ask for what is not supported.
        """
        self.name = name
        self._config = read_sentence_config(folder, name)
        inner = folder / self._config.transformer
        self._tokenizer = Tokenizer(inner, name)
        self._place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        built = build_network(inner, name, self._place, precision, threads, self._probe)
        self._network = built.built
        self._limit(self._network)
        self.bounds = self._network.bounds
        self.lanes = self._network.lanes
        self.precision = built.precision.value + (f" ({built.note})" if built.note else "")
        self.dimension = self._network.hidden_size * len(self._config.pooling)
        try:
            self.fingerprint = folder_fingerprint(inner, {**self._config.settings(), "max_tokens": self.max_tokens})
        except (OSError, ValueError) as error:
            raise ModelError(name, error) from error

    def _limit(self, network: Network) -> None:
        self.max_tokens = _max_tokens(self._config, self._tokenizer, network)
        if self.max_tokens <= self._tokenizer.special_tokens:
            special = self._tokenizer.special_tokens
            raise ModelError(self.name, f"reads {self.max_tokens} tokens, of which {special} are special")
        self._tokenizer.limit(self.max_tokens)

    def _probe(self, network: Network) -> Vectors:
        """The vectors of the probe texts as `network` gives them."""
        self._limit(network)
        texts = self.tokenize(PROBE_TEXTS, AS_DOCUMENT)
        return np.concatenate([self._pooled([text.content], network) for text in texts if not text.error])

    def enter_lane(self) -> None:
        """See `EmbeddingModel.enter_lane`."""
        self._network.enter_lane()

    def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        """See `EmbeddingModel.tokenize`."""
        readable = [row for row, text in enumerate(texts) if text.strip()]
        prepared = [self._prepared(texts[row], options) for row in readable]
        answers = [Tokenized(0, error=EMPTY_TEXT)] * len(texts)
        for row, text in zip(readable, run_isolated(prepared, self._tokenizer.tokenize), strict=True):
            if isinstance(text, Exception):
                answers[row] = Tokenized(0, error=f"the tokenizer failed: {one_line(text)}")
            elif len(text.ids) <= self._tokenizer.special_tokens:
                answers[row] = Tokenized(0, error="the tokenizer finds nothing to read in the text")
            else:
                answers[row] = Tokenized(len(text.ids), text.truncated, content=text)
        return answers

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        """See `EmbeddingModel.forward`."""
        try:
            return self._pooled([text.content for text in batch], self._network)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        except Exception as error:
            self._check_device(error)
            raise
        # Outside the handler, whose exception still holds the tensors of the attempt.
        self.bounds = replace(self.bounds, tokens=max(1, min(self.bounds.tokens, sum(text.count for text in batch)) // 2))
        if self._place.type == "cuda":
            torch.cuda.empty_cache()
        half = len(batch) // 2
        return np.concatenate([self.forward(batch[:half]), self.forward(batch[half:])])

    def _pooled(self, read: Sequence[TokenizedText], network: Network) -> Vectors:
        flat = FlatBatch.of(
            [np.asarray(text.ids, dtype=np.int32) for text in read],
            [np.asarray(text.type_ids, dtype=np.int32) if any(text.type_ids) else None for text in read],
        )
        with torch.inference_mode():
            hidden = network.hidden(flat)
            lengths = torch.tensor(flat.lengths, device=hidden.device)
            return pool(hidden, lengths, self._config.pooling).cpu().numpy()

    def finish(self, vectors: Vectors, options: EncodeOptions) -> Vectors:
        """See `EmbeddingModel.finish`."""
        normalize = self._config.normalize if options.normalize is None else options.normalize
        return shortened(vectors, options.dimensions, normalize)

    def _prepared(self, text: str, options: EncodeOptions) -> str:
        prompt = self._config.prompt(options.role) if options.prompt is None else options.prompt
        return (prompt + text).lower() if self._config.lower_case else prompt + text

    def _check_device(self, failure: Exception) -> None:
        """Some GPU errors stay for the life of the process; no text is to blame for those."""
        if self._place.type != "cuda":
            return
        try:
            torch.zeros(1, device=self._place).add_(1)
            torch.cuda.synchronize(self._place)
        except Exception:
            raise DeviceLost(self.name, f"the GPU no longer answers: {one_line(failure)}") from failure


def _max_tokens(config: SentenceConfig, tokenizer: Tokenizer, network: Network) -> int:
    stated = config.max_tokens or tokenizer.stated_limit or _DEFAULT_MAX_TOKENS
    return stated if network.position_limit is None else min(stated, network.position_limit)
