"""Pools the token vectors of each text into one vector: the modes of sentence-transformers, without padding, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pool(hidden: Tensor, lengths: Tensor, modes: Sequence[str], skipped: Tensor | None = None) -> Tensor:
    """Vectors (texts, hidden size times number of modes) float32 from token vectors.

    `hidden` is (tokens, hidden size) of any float type, the texts end to end. `lengths` (texts,) int64 is the number of
    tokens of each text, at least 1. `skipped` (texts,) int64 is the number of leading tokens (of a prompt) to leave out,
    less than the length. Raises ValueError for an unknown mode (see `sentence_files.POOLING_MODES`).
    """
    hidden = hidden.float()
    ends = lengths.cumsum(0)
    return torch.cat([_pool(hidden, lengths, ends, mode, skipped) for mode in modes], dim=1)


def _pool(hidden: Tensor, lengths: Tensor, ends: Tensor, mode: str, skipped: Tensor | None) -> Tensor:
    match mode:
        case "cls":
            return hidden[ends - lengths if skipped is None else ends - lengths + skipped]
        case "lasttoken":
            return hidden[ends - 1]
        case "max":
            return torch.segment_reduce(
                _counted(hidden, lengths, ends, skipped, float("-inf")), "max", lengths=lengths, unsafe=True
            )
        case "mean":
            return _sums(_counted(hidden, lengths, ends, skipped, 0.0), lengths) / _counts(lengths, skipped)
        case "mean_sqrt_len_tokens":
            return _sums(_counted(hidden, lengths, ends, skipped, 0.0), lengths) / _counts(lengths, skipped).sqrt()
        case "weightedmean":
            # The weight of a token is its position in the text, from 1.
            weights = (_offsets(lengths, ends, len(hidden)) + 1).float().unsqueeze(1)
            weights = _counted(weights, lengths, ends, skipped, 0.0)
            return _sums(hidden * weights, lengths) / _sums(weights, lengths)
        case _:
            raise ValueError(f"unknown pooling mode {mode!r}")


def _sums(values: Tensor, lengths: Tensor) -> Tensor:
    # Unsafe skips the check that lengths add up, which would wait for a GPU. They do.
    return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True)


def _counts(lengths: Tensor, skipped: Tensor | None) -> Tensor:
    return (lengths if skipped is None else lengths - skipped).unsqueeze(1).float()


def _offsets(lengths: Tensor, ends: Tensor, tokens: int) -> Tensor:
    """Index of each token in its text, from 0."""
    return torch.arange(tokens, device=lengths.device) - _repeated(ends - lengths, lengths, tokens)


def _repeated(values: Tensor, lengths: Tensor, tokens: int) -> Tensor:
    """Repeats the value of each text for each of its tokens."""
    # Without output_size, torch would wait for the GPU to compute it.
    return torch.repeat_interleave(values, lengths, output_size=tokens)


def _counted(values: Tensor, lengths: Tensor, ends: Tensor, skipped: Tensor | None, instead: float) -> Tensor:
    if skipped is None:
        return values
    tokens = len(values)
    left_out = _offsets(lengths, ends, tokens) < _repeated(skipped, lengths, tokens)
    return values.masked_fill(left_out.unsqueeze(1), instead)
