"""From the ids of a text to words with their contexts and negatives, as tensors on a device. What is learned from them is
`torch_step`'s."""

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
    """(n, 1 + negative) bool: which of `targets` count; a word that was drawn as its own negative does not."""
    contexts: Tensor
    """(n, 2 · window) int64."""
    within: Tensor
    """(n, 2 · window) bool: what of `contexts` belongs to the context; the rest are words that happen to be near."""
    rates: Tensor
    """(n,) float32: the learning rate of each word."""

    def __len__(self) -> int:
        return len(self.targets)

    def part(self, begin: int, end: int) -> WordBatch:
        """The words from `begin` to `end`, not a copy."""
        return WordBatch(
            self.targets[begin:end],
            self.taken[begin:end],
            self.contexts[begin:end],
            self.within[begin:end],
            self.rates[begin:end],
        )


def windows(words: Tensor, sentences: Tensor, reaches: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The `contexts` and `within` of a batch of all `words` (n,) int64 of a text: the `reaches` (n,) words on each side, at
    most `window`, whose number in `sentences` (n,) is the same."""
    # Made on the device: a copy of the host's memory would wait for all that the device was given before.
    halves = torch.arange(1, window + 1, device=words.device)
    offsets = torch.cat([-halves.flip(0), halves])
    around = torch.arange(len(words), device=words.device)[:, None] + offsets
    near = around.clamp(0, max(0, len(words) - 1))
    within = (near == around) & (offsets.abs() <= reaches[:, None]) & (sentences[near] == sentences[:, None])
    return words[near], within


class Sampler:
    """Draws on the device what is random in a training: the words that are kept, how far contexts reach, and negatives."""

    def __init__(self, counts: Counts, sample: float, power: float, device: torch.device) -> None:
        thresholds, aliases = alias_table(counts, power)
        # int64: torch compares no unsigned numbers of 32 bits.
        self._keep = torch.from_numpy(keep_thresholds(counts, sample).astype(np.int64)).to(device)
        self._thresholds = torch.from_numpy(thresholds.astype(np.int64)).to(device)
        self._aliases = torch.from_numpy(aliases.astype(np.int64)).to(device)
        self._device = device
        self._generator = Generator(device)

    def begin(self, seed: int) -> None:
        """What is drawn from now on depends on the seed alone."""
        self._generator.manual_seed(seed)

    def batch(self, ids: Ids, rates: tuple[float, float], window: int, negative: int) -> WordBatch:
        """All words of `ids` (n,), sentences with SENTENCE_END after each, that sub-sampling keeps, while the learning rate
        goes from the first of `rates` to the second. The device is waited for once, to learn how many these are."""
        first, last = rates
        text = sent(ids, self._device)
        sentences = (text < 0).cumsum(0)
        kept = (text >= 0) & (self._bits(len(text)) <= self._keep[text.clamp_min(0)])
        places = kept.nonzero().squeeze(1)
        words = text[places].long()
        reaches = torch.randint(1, window + 1, (len(words),), generator=self._generator, device=self._device)
        contexts, within = windows(words, sentences[places], reaches, window)
        targets = torch.cat([words[:, None], self._negatives(len(words), negative)], 1)
        taken = targets != words[:, None]
        taken[:, 0] = True
        falling = first + (last - first) / max(1, len(ids)) * places.float()
        return WordBatch(targets, taken, contexts, within, falling)

    def _bits(self, *shape: int) -> Tensor:
        return torch.randint(0, 1 << 32, shape, generator=self._generator, device=self._device)

    def _negatives(self, count: int, negative: int) -> Tensor:
        shape, words = (count, negative), len(self._aliases)
        drawn = torch.randint(0, words, shape, generator=self._generator, device=self._device)
        return torch.where(self._bits(*shape) > self._thresholds[drawn], self._aliases[drawn], drawn)


def sent(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy on the device; to a GPU through pinned memory, so that the host goes on meanwhile."""
    # Copied on the CPU too: the array may be read-only, which torch warns of, or change later.
    tensor = torch.tensor(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
