"""One vector from the token vectors of each text: the pooling modes of sentence-transformers, on flat tokens, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pool(hidden: Tensor, lengths: Tensor, modes: Sequence[str], skipped: Tensor | None = None) -> Tensor:
    """Vectors (texts, hidden size times number of modes) float32 from token vectors.

    `hidden` is (tokens, hidden size) of any float type, the texts end to end; `lengths` (texts,) int64 is how many tokens
    each has, at least 1. `skipped` (texts,) int64 is how many leading tokens (of a prompt) are left out; fewer than the
    length. Raises ValueError for an unknown mode (see `sentence_files.POOLING_MODES`).
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
            # A token weighs its place in the text, from 1.
            weights = (_places(lengths, ends, len(hidden)) + 1).float().unsqueeze(1)
            weights = _counted(weights, lengths, ends, skipped, 0.0)
            return _sums(hidden * weights, lengths) / _sums(weights, lengths)
        case _:
            raise ValueError(f"pooling mode {mode!r} is not known")


def _sums(values: Tensor, lengths: Tensor) -> Tensor:
    # Unsafe: without looking whether lengths add up, for which a GPU would have to be waited for. They do.
    return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True)


def _counts(lengths: Tensor, skipped: Tensor | None) -> Tensor:
    return (lengths if skipped is None else lengths - skipped).unsqueeze(1).float()


def _places(lengths: Tensor, ends: Tensor, tokens: int) -> Tensor:
    """Place of each token in its text, from 0."""
    return torch.arange(tokens, device=lengths.device) - _repeated(ends - lengths, lengths, tokens)


def _repeated(values: Tensor, lengths: Tensor, tokens: int) -> Tensor:
    """A value of each text for each of its tokens."""
    # Their number is told, so that a GPU need not be asked for it.
    return torch.repeat_interleave(values, lengths, output_size=tokens)


def _counted(values: Tensor, lengths: Tensor, ends: Tensor, skipped: Tensor | None, instead: float) -> Tensor:
    if skipped is None:
        return values
    tokens = len(values)
    left_out = _places(lengths, ends, tokens) < _repeated(skipped, lengths, tokens)
    return values.masked_fill(left_out.unsqueeze(1), instead)
