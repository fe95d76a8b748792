"""Turns the ids of a text into words with their contexts and negatives, as tensors on a device, for `torch_step`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from shoal.workers.training.word2vec.kernels.sampling import Counts, alias_table, keep_thresholds
from shoal.workers.training.word2vec.learner import Ids


@dataclass(frozen=True, slots=True)
class WordBatch:
    """n words with their contexts and negatives."""

    targets: Tensor
    """(n, 1 + negative) int64: each word, and its negatives."""
    taken: Tensor
    """(n, 1 + negative) bool: which of `targets` count. A word that was drawn as its own negative does not."""
    contexts: Tensor
    """(n, 2 · window) int64."""
    within: Tensor
    """(n, 2 · window) bool: which of `contexts` belong to the context. The others are padding."""
    rates: Tensor
    """(n,) float32: the learning rate of each word."""

    def __len__(self) -> int:
        return len(self.targets)

    def part(self, begin: int, end: int) -> WordBatch:
        """The words from `begin` to `end`, not copied."""
        return WordBatch(
            self.targets[begin:end],
            self.taken[begin:end],
            self.contexts[begin:end],
            self.within[begin:end],
            self.rates[begin:end],
        )


def windows(words: Tensor, sentences: Tensor, reaches: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The `contexts` and `within` of a batch of all `words` (n,) int64 of a text. A context has `reaches` (n,) words, at
    most `window`, on each side, as far as their index in `sentences` (n,) is the same."""
    # Created on the device: a copy from host memory would wait for all earlier work of the device.
    halves = torch.arange(1, window + 1, device=words.device)
    offsets = torch.cat([-halves.flip(0), halves])
    around = torch.arange(len(words), device=words.device)[:, None] + offsets
    near = around.clamp(0, max(0, len(words) - 1))
    within = (near == around) & (offsets.abs() <= reaches[:, None]) & (sentences[near] == sentences[:, None])
    return words[near], within


class Sampler:
    """Draws the random choices of a training on the device: which words are kept, context sizes and negatives."""

    def __init__(self, counts: Counts, sample: float, power: float, device: torch.device) -> None:
        thresholds, aliases = alias_table(counts, power)
        # int64, because torch cannot compare uint32.
        self._keep = torch.from_numpy(keep_thresholds(counts, sample).astype(np.int64)).to(device)
        self._thresholds = torch.from_numpy(thresholds.astype(np.int64)).to(device)
        self._aliases = torch.from_numpy(aliases.astype(np.int64)).to(device)
        self._device = device
        self._generator = Generator(device)

    def begin(self, seed: int) -> None:
        """Seeds the generator: everything drawn from now on depends only on the seed."""
        self._generator.manual_seed(seed)

    def batch(self, ids: Ids, rates: tuple[float, float], window: int, negative: int) -> WordBatch:
        """The words of `ids` (n,) that subsampling keeps; `ids` are sentences with SENTENCE_END after each. The learning
        rate goes from the first of `rates` to the second. Waits for the device once, for the number of words."""
        first, last = rates
        text = sent(ids, self._device)
        sentences = (text < 0).cumsum(0)
        kept = (text >= 0) & (self._bits(len(text)) <= self._keep[text.clamp_min(0)])
        positions = kept.nonzero().squeeze(1)
        words = text[positions].long()
        reaches = torch.randint(1, window + 1, (len(words),), generator=self._generator, device=self._device)
        contexts, within = windows(words, sentences[positions], reaches, window)
        targets = torch.cat([words[:, None], self._negatives(len(words), negative)], 1)
        taken = targets != words[:, None]
        taken[:, 0] = True
        falling = first + (last - first) / max(1, len(ids)) * positions.float()
        return WordBatch(targets, taken, contexts, within, falling)

    def _bits(self, *shape: int) -> Tensor:
        return torch.randint(0, 1 << 32, shape, generator=self._generator, device=self._device)

    def _negatives(self, count: int, negative: int) -> Tensor:
        shape, words = (count, negative), len(self._aliases)
        drawn = torch.randint(0, words, shape, generator=self._generator, device=self._device)
        return torch.where(self._bits(*shape) > self._thresholds[drawn], self._aliases[drawn], drawn)


def sent(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy on the device. For a GPU it goes through pinned memory, so that the host does not wait."""
    # Copied on the CPU, too: the array may be read-only, about which torch warns, or change later.
    tensor = torch.tensor(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
