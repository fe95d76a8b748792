"""From the ids of a text to words with their contexts and negatives, as tensors on a device. What is learned from them is
`torch_step`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from shoal.workers.training.learner import Ids
from shoal.workers.training.sampling import Counts, alias_table, keep_thresholds


@dataclass(frozen=True, slots=True)
class Batch:
    """Words (n,) int64 with their contexts and negatives."""

    words: Tensor
    contexts: Tensor
    """(n, 2 · window) int64."""
    within: Tensor
    """(n, 2 · window) bool: what of `contexts` belongs to the context; the rest are words that happen to be near."""
    negatives: Tensor
    """(n, negative) int64; a word may be drawn as its own."""
    rates: Tensor
    """(n,) float32: the learning rate of each word."""


@dataclass(frozen=True, slots=True)
class KeptText:
    """The n words of a text that sub-sampling kept, and what was drawn for each."""

    words: Tensor
    sentences: Tensor
    """(n,) int64: ascends from one sentence to the next."""
    reaches: Tensor
    """(n,) int64: words on each side that are the context."""
    negatives: Tensor
    """(n, negative) int32."""
    rates: Tensor
    """(n,) float32."""

    def __len__(self) -> int:
        return len(self.words)

    def batch(self, begin: int, end: int, window: int) -> Batch:
        """The words from `begin` to `end`; their contexts may lie outside of it."""
        # Made on the device: a copy of the host's memory would wait for all that the device was given before.
        halves = torch.arange(1, window + 1, device=self.words.device)
        offsets = torch.cat([-halves.flip(0), halves])
        around = torch.arange(begin, end, device=self.words.device)[:, None] + offsets
        near = around.clamp(0, len(self) - 1)
        within = (near == around) & (offsets.abs() <= self.reaches[begin:end, None])
        within &= self.sentences[near] == self.sentences[begin:end, None]
        negatives = self.negatives[begin:end].long()
        return Batch(self.words[begin:end], self.words[near], within, negatives, self.rates[begin:end])


class Sampler:
    """Draws on the device what is random in a training: the words that are kept, their reaches and their negatives."""

    def __init__(self, counts: Counts, sample: float, power: float, device: torch.device) -> None:
        thresholds, aliases = alias_table(counts, power)
        # int64: torch compares no unsigned numbers of 32 bits.
        self._keep = torch.from_numpy(keep_thresholds(counts, sample).astype(np.int64)).to(device)
        self._thresholds = torch.from_numpy(thresholds.astype(np.int64)).to(device)
        self._aliases = torch.from_numpy(aliases).to(device)
        self._device = device
        self._generator = Generator(device)

    def begin(self, seed: int) -> None:
        """What is drawn from now on depends on the seed alone."""
        self._generator.manual_seed(seed)

    def kept(self, ids: Ids, rates: tuple[float, float], window: int, negative: int) -> KeptText:
        """What is left of `ids` (n,), sentences with SENTENCE_END after each, while the learning rate goes from the first of
        `rates` to the second. The device is waited for once, to learn how many words are kept."""
        first, last = rates
        text = sent(ids, self._device)
        sentences = (text < 0).cumsum(0)
        kept = (text >= 0) & (self._bits(len(text)) <= self._keep[text.clamp_min(0)])
        places = kept.nonzero().squeeze(1)
        words, count = text[places].long(), len(places)
        reaches = torch.randint(1, window + 1, (count,), generator=self._generator, device=self._device)
        falling = first + (last - first) / max(1, len(ids)) * places.float()
        return KeptText(words, sentences[places], reaches, self._negatives(count, negative), falling)

    def _bits(self, *shape: int) -> Tensor:
        return torch.randint(0, 1 << 32, shape, generator=self._generator, device=self._device)

    def _negatives(self, count: int, negative: int) -> Tensor:
        shape, words = (count, negative), len(self._aliases)
        drawn = torch.randint(0, words, shape, generator=self._generator, device=self._device)
        aliased = self._bits(*shape) > self._thresholds[drawn]
        return torch.where(aliased, self._aliases[drawn], drawn.int())


def sent(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy on the device; to a GPU through pinned memory, so that the host goes on meanwhile."""
    # Copied on the CPU too: the array may be read-only, which torch warns of, or change later.
    tensor = torch.tensor(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
