"""A transformer model: its tokenizer, its network, and the pooling and modules that turn hidden states into a vector."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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
    Truncation,
    Vectors,
    shortened,
    too_long,
)
from shoal.workers.encoding.networks.network import Network, UnpaddedBatch, to_device
from shoal.workers.encoding.networks.network_building import build_network
from shoal.workers.encoding.networks.precision import PROBE_TEXTS, Precision
from shoal.workers.encoding.transformer.modules import Modules
from shoal.workers.encoding.transformer.pooling import pool
from shoal.workers.encoding.transformer.sentence_config import read_sentence_config
from shoal.workers.encoding.transformer.token_limits import token_limits
from shoal.workers.encoding.transformer.tokenization import PromptTooLong, TokenizedText, transformer_tokenizer
from shoal.workers.runtime import typed_error_line


class TransformerModel(EmbeddingModel):
    """A transformer with pooling, from Hugging Face safetensors."""

    def __init__(
        self, folder: Path, name: str, threads: int, device: str | None = None, precision: Precision | None = None
    ) -> None:
        """Loads the model in `folder`; `threads` is how many CPU cores it may use, `device` is a torch device name.

        `precision` None takes the fastest of the device; any but float32 must pass the gate of `precision.choose`.
        Raises ModelError when files are missing or malformed, or need an unsupported feature.
        """
        self.name = name
        self._folder = folder
        self._config = read_sentence_config(folder, name)
        self._modules: Modules | None = None
        inner = folder / self._config.transformer
        self._tokenizer = transformer_tokenizer(inner, name, self._config.lower_case)
        self._torch_device = _torch_device(device)
        built = build_network(inner, name, self._torch_device, precision, threads, self._probe)
        self._network = built.built
        self._fit(self._network)
        self.bounds = self._network.bounds
        self.inference_threads = self._network.inference_threads
        self._warm_up()
        self.device = self._torch_device.type
        self.precision = built.precision.value + (f" ({built.note})" if built.note else "")
        settings = {**self._config.settings(), "max_tokens": self.max_tokens}
        if self._limits.query != self._limits.document:
            settings["role_tokens"] = [self._limits.query, self._limits.document]
        if built.precision is Precision.INT8:
            settings["precision"] = built.precision.value
        weights = [folder / module.weights for module in self._config.modules if module.kind != "Normalize"]
        try:
            self.fingerprint = folder_fingerprint(inner, settings, weights)
        except (OSError, ValueError) as error:
            raise ModelError(name, error) from error

    def _fit(self, network: Network) -> None:
        """Sets what depends on the network: the modules after it, and the token limit."""
        pooled = network.hidden_size * len(self._config.pooling)
        if self._modules is None:
            self._modules = Modules(self._folder, self._config.modules, self.name, pooled, self._torch_device)
        whole = self._modules.dimension
        self.dimension = min(self._config.dimensions or whole, whole)
        self._limits = token_limits(
            self._config.limits, self._tokenizer.stated_limit, network.stated_positions, network.position_limit
        )
        self.max_tokens = self._limits.largest
        special = self._tokenizer.special_tokens
        if (least := min(self._limits.query, self._limits.document)) <= special:
            raise ModelError(self.name, f"a limit of {least} tokens leaves no room for text: {special} are special")
        self._tokenizer.limit(self.max_tokens)

    def _probe(self, network: Network) -> Vectors:
        """The vectors of the probe texts, computed by `network`."""
        self._fit(network)
        texts = self.tokenize(PROBE_TEXTS, AS_DOCUMENT)
        return np.concatenate([self._pooled([text.content], network) for text in texts if not text.error])

    def _warm_up(self) -> None:
        """Computes the largest batch on a GPU, in all inference threads at once as under load, so that a lack of memory
        shows now and lowers the bounds."""
        if self._torch_device.type != "cuda":
            return
        # A longer text runs alone; what it needs is not kept free.
        tokens = min(self.max_tokens, self.bounds.tokens)
        ids = np.resize(self._tokenizer.tokenize([PROBE_TEXTS[-1]], "", Truncation.END)[0].ids, tokens)
        longest = Tokenized(len(ids), content=TokenizedText(ids, None, truncated=False, prompt_tokens=0))
        batch = [longest] * max(1, self.bounds.tokens // len(ids))
        with ThreadPoolExecutor(self.inference_threads, "shoal-warm-up", initializer=self.init_inference_thread) as threads:
            list(threads.map(self.forward, [batch] * self.inference_threads))
        # torch caches memory per stream, and other threads cannot use that of these threads.
        torch.cuda.empty_cache()

    def init_inference_thread(self) -> None:
        """See `EmbeddingModel.init_inference_thread`."""
        self._network.init_inference_thread()

    def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        """See `EmbeddingModel.tokenize`."""
        prompt = self._config.prompt(options.role) if options.prompt is None else options.prompt
        limit = self._limits.of(options.role)
        readable = [row for row, text in enumerate(texts) if text and not text.isspace()]
        answers = [Tokenized(0, error=EMPTY_TEXT)] * len(texts)

        def tokenize(some: Sequence[str]) -> list[TokenizedText]:
            return self._tokenizer.tokenize(some, prompt, options.truncation, limit)

        try:
            results = run_isolated([texts[row] for row in readable], tokenize, fatal=PromptTooLong)
        except PromptTooLong as error:
            results = [error] * len(readable)
        for row, text in zip(readable, results, strict=True):
            answers[row] = self._tokenized(text, options.truncation, limit)
        return answers

    def _tokenized(self, text: TokenizedText | Exception, truncation: Truncation, limit: int) -> Tokenized:
        if isinstance(text, PromptTooLong):
            return Tokenized(0, error=str(text))
        if isinstance(text, Exception):
            return Tokenized(0, error=f"the tokenizer failed: {typed_error_line(text)}")
        if len(text.ids) <= self._tokenizer.special_tokens:
            return Tokenized(0, error="the tokenizer finds no tokens in the text")
        if text.truncated and truncation is Truncation.REFUSE:
            return Tokenized(0, error=too_long(limit))
        return Tokenized(len(text.ids), text.truncated, content=text)

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
        # Outside the handler, because its exception keeps the tensors of the failed attempt alive.
        # Another inference thread may already have lowered the bounds.
        fitting = min(self.bounds.tokens, max(1, sum(text.count for text in batch) // 2))
        self.bounds = replace(self.bounds, tokens=fitting)
        if self._torch_device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(batch) // 2
        return np.concatenate([self.forward(batch[:half]), self.forward(batch[half:])])

    def _pooled(self, texts: Sequence[TokenizedText], network: Network) -> Vectors:
        batch = UnpaddedBatch.of([text.ids for text in texts], [text.type_ids for text in texts])
        with torch.inference_mode():
            # Before the hidden states, so that the copies do not wait for them.
            lengths = to_device(np.asarray(batch.lengths, dtype=np.int64), network.device)
            skipped = self._skipped(texts, network.device)
            pooled = pool(network.hidden(batch), lengths, self._config.pooling, skipped)
            assert self._modules is not None
            return self._modules.apply(pooled)[:, : self.dimension].cpu().numpy()

    def _skipped(self, texts: Sequence[TokenizedText], device: torch.device) -> Tensor | None:
        if self._config.include_prompt or not any(text.prompt_tokens for text in texts):
            return None
        # Prompt and text together may have fewer tokens than the prompt alone, but one is always left to pool.
        return to_device(np.array([min(text.prompt_tokens, len(text.ids) - 1) for text in texts], dtype=np.int64), device)

    def finish(self, vectors: Vectors, options: EncodeOptions) -> Vectors:
        """See `EmbeddingModel.finish`."""
        normalize = self._config.normalize if options.normalize is None else options.normalize
        return shortened(vectors, options.dimensions, normalize)

    def _check_device(self, failure: Exception) -> None:
        """Raises DeviceLost if the GPU no longer computes: some GPU errors last until the process ends."""
        if self._torch_device.type != "cuda":
            return
        try:
            torch.zeros(1, device=self._torch_device).add_(1)
            torch.cuda.synchronize(self._torch_device)
        except Exception:
            raise DeviceLost(self.name, f"the GPU no longer answers: {typed_error_line(failure)}") from failure


def _torch_device(name: str | None) -> torch.device:
    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    # Inference threads need the index of the GPU.
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device
