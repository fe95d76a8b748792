"""A training step in torch: computes the gradients of a batch of words and adds them to the tables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from shoal.workers.training.word2vec.learners.torch_windows import WordBatch


@dataclass(frozen=True, slots=True)
class GradientStep:
    """The changes for a batch: `values` (n, width) float32 to add to `rows` (n,) int64, which may repeat."""

    input_rows: Tensor
    input_values: Tensor
    output_rows: Tensor
    output_values: Tensor
    loss: Tensor
    """() float32: sum over all pairs."""
    pairs: Tensor
    """() int64."""

    def apply(self, input: Tensor, output: Tensor) -> None:
        """Adds the changes to the tables. On CUDA the order varies, so the last bits differ from run to run."""
        input.index_add_(0, self.input_rows, self.input_values)
        output.index_add_(0, self.output_rows, self.output_values)


def skip_gram_step(input: Tensor, output: Tensor, batch: WordBatch, most: float) -> GradientStep:
    """Each context word is trained on the word (label 1) and its negatives (label 0), as in word2vec.c, except that all
    words of a context share the negatives (Ji et al. 2016). All gradients are computed from the current tables. For
    `most` see `_damping`."""
    targets = batch.targets
    x, y = _rows(input, batch.contexts), _rows(output, targets)
    live = batch.within[:, :, None] & batch.taken[:, None, :]
    logits = torch.bmm(x, y.transpose(1, 2))
    rates = live * batch.rates[:, None, None]
    gradients = _gradients(logits, rates)
    input_damping = _damping(batch.contexts, rates.sum(2), len(input), most)
    output_damping = _damping(targets, rates.sum(1), len(output), most)
    return GradientStep(
        input_rows=batch.contexts.reshape(-1),
        input_values=torch.bmm(gradients * input_damping[:, :, None], y).flatten(0, 1),
        output_rows=targets.reshape(-1),
        output_values=torch.bmm((gradients * output_damping[:, None, :]).transpose(1, 2), x).flatten(0, 1),
        loss=_loss(logits, live),
        pairs=batch.within.sum(),
    )


def cbow_step(input: Tensor, output: Tensor, batch: WordBatch, most: float) -> GradientStep:
    """The mean of the context words is trained on the word (label 1) and its negatives (label 0). As in word2vec.c, the
    change of the mean is added to each context word in full. For `most` see `_damping`."""
    targets, lengths = batch.targets, batch.within.sum(1)
    live = batch.taken & (lengths > 0)[:, None]
    within = batch.within.to(input.dtype)
    shares = within / lengths.clamp_min(1)[:, None]
    y = _rows(output, targets)
    means = torch.bmm(shares[:, None, :], _rows(input, batch.contexts))
    logits = torch.bmm(means, y.transpose(1, 2))
    rates = live * batch.rates[:, None]
    gradients = _gradients(logits, rates[:, None, :])
    weights = within * _damping(batch.contexts, batch.within * rates.sum(1, keepdim=True), len(input), most)
    output_damping = _damping(targets, rates, len(output), most)
    return GradientStep(
        input_rows=batch.contexts.reshape(-1),
        input_values=torch.bmm(weights[:, :, None], torch.bmm(gradients, y)).flatten(0, 1),
        output_rows=targets.reshape(-1),
        output_values=torch.bmm((gradients * output_damping[:, None, :]).transpose(1, 2), means).flatten(0, 1),
        loss=_loss(logits, live[:, None, :]),
        pairs=(lengths > 0).sum(),
    )


def _rows(table: Tensor, rows: Tensor) -> Tensor:
    """The rows (n, k, width) with indexes `rows` (n, k)."""
    return table.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)


def _gradients(logits: Tensor, rates: Tensor) -> Tensor:
    """(label - sigmoid) · rate for logits (n, ..., 1 + negative), of which the first has label 1."""
    gradients = torch.sigmoid(logits).neg_()
    gradients[..., 0] += 1
    return gradients.mul_(rates)


def _loss(logits: Tensor, live: Tensor) -> Tensor:
    # -log sigmoid(z) = softplus(-z), and softplus(-z) = softplus(z) - z.
    losses = softplus(logits)
    losses[..., 0] -= logits[..., 0]
    return losses.mul_(live).sum()


def _damping(rows: Tensor, rates: Tensor, count: int, most: float) -> Tensor:
    """Factors for `rows` (n, k) that limit the sum of the learning rates of each table row to `most`. `rates` (n, k) are
    sums over the pairs of each element."""
    sums = torch.zeros(count, dtype=rates.dtype, device=rows.device).index_add_(0, rows.reshape(-1), rates.reshape(-1))
    return (most / sums).clamp_max_(1)[rows]
