"""Attention over texts laid end to end, in which no text sees another: by groups of like length on a CPU, by torch's varlen
kernel on CUDA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shoal.workers.encoding import bfloat16_kernels as kernels

# Above this length the matrix of scores leaves the cache, and torch's blockwise kernel is the faster one.
_LONGEST_DIRECT = {torch.float32: 128, torch.bfloat16: 512}
# oneDNN's products of bfloat16 are fastest for multiples of this.
_STEP = 16


class Attention(Protocol):
    """Attention for the texts of one batch."""

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        """Context (tokens, heads * size) for `qkv` (tokens, 3, heads, size), whose queries are scaled already.

        With a `window`, a token sees so many tokens to either side.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring texts that are computed together, each padded to `places`."""

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    places: int

    @property
    def tokens(self) -> slice:
        return slice(int(self.starts[0]), int(self.starts[-1] + self.lengths[-1]))


class GroupedAttention:
    """For a CPU. Texts must be ordered by length, so that those of like length are neighbours; what follows the last gets
    zeros.

    In bfloat16, texts are padded to the next multiple of 16 here and nowhere else. Measured on a Zen 4 core (12 heads of 32,
    1,024 tokens): two products and the compiled softmax take 3.4 ms at length 256 and 0.6 ms at 16, torch's
    scaled_dot_product_attention 6.8 and 1.9 ms. In float32 the two meet at length 128.
    """

    def __init__(self, lengths: Sequence[int], dtype: torch.dtype) -> None:
        step = _STEP if dtype is torch.bfloat16 else 1
        self._groups = list(_groups(lengths, step))
        self._tokens = sum(lengths)
        self._longest_direct = _LONGEST_DIRECT.get(dtype, 0)

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        tokens, _, heads, size = qkv.shape
        context = qkv.new_empty(tokens, heads, size)
        context[self._tokens :] = 0
        for group in self._groups:
            longest = int(group.lengths.max())
            if (window is not None and window < longest - 1) or longest > self._longest_direct:
                _blockwise(qkv, group, window, context)
            elif qkv.dtype is torch.bfloat16:
                _direct_bfloat16(qkv, group, context)
            else:
                _direct(qkv, group, context)
        return context.flatten(1)


def _groups(lengths: Sequence[int], step: int) -> Iterator[_Group]:
    start = 0
    for steps, same in groupby(lengths, key=lambda length: -(-length // step)):
        own = np.array(list(same), dtype=np.int64)
        ends = start + np.cumsum(own)
        yield _Group(ends - own, own, steps * step)
        start = int(ends[-1])


def _direct_bfloat16(qkv: Tensor, group: _Group, context: Tensor) -> None:
    (_, _, heads, size), n, places = qkv.shape, len(group.lengths), group.places
    parts = qkv.new_empty(3, n, heads, places, size)
    kernels.split_heads(kernels.bits(qkv), group.starts, group.lengths, kernels.bits(parts))
    q, k, v = parts.view(3, n * heads, places, size).unbind()
    scores = torch.bmm(q, k.transpose(1, 2))
    kernels.softmax(kernels.bits(scores).reshape(-1, places), group.lengths)
    mixed = torch.bmm(scores, v)
    kernels.join_heads(
        kernels.bits(mixed).reshape(n, heads, places, size), group.starts, group.lengths, kernels.bits(context)
    )


def _direct(qkv: Tensor, group: _Group, context: Tensor) -> None:
    """For texts of one length."""
    (_, _, heads, size), n, length = qkv.shape, len(group.lengths), group.places
    parts = qkv[group.tokens].view(n, length, 3, heads, size).permute(2, 0, 3, 1, 4).contiguous()
    q, k, v = parts.view(3, n * heads, length, size).unbind()
    mixed = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1), v)
    context[group.tokens].view(n, length, heads, size).copy_(mixed.view(n, heads, length, size).transpose(1, 2))


def _blockwise(qkv: Tensor, group: _Group, window: int | None, context: Tensor) -> None:
    """Text by text, so that none is padded."""
    for start, length in zip(group.starts.tolist(), group.lengths.tolist(), strict=True):
        q, k, v = qkv[start : start + length].permute(1, 2, 0, 3).unsqueeze(1).unbind()
        mask = None if window is None or window >= length - 1 else _band(length, window, qkv.dtype)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        context[start : start + length] = mixed[0].transpose(0, 1)


def _band(length: int, window: int, dtype: torch.dtype) -> Tensor:
    places = torch.arange(length)
    near = (places[:, None] - places[None, :]).abs() <= window
    return torch.zeros(length, length, dtype=dtype).masked_fill(~near, float("-inf"))


class VarlenAttention:
    """For CUDA (compute capability 8.0 or newer, fp16 or bf16): torch's kernel over cumulative lengths."""

    def __init__(self, starts: Tensor, longest: int) -> None:
        """`starts` (texts + 1,) int32 on the device: where each text begins, and the end of the last."""
        from torch.nn.attention.varlen import varlen_attn

        self._attend = varlen_attn
        self._starts = starts
        self._longest = longest

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        q, k, v = qkv.unbind(1)
        reach = (-1, -1) if window is None else (window, window)
        # One split: a text's sums are then added up in the same order whatever shares its batch.
        mixed = self._attend(
            q,
            k,
            v,
            self._starts,
            self._starts,
            self._longest,
            self._longest,
            scale=1.0,
            window_size=reach,
            num_splits=1,
        )
        assert isinstance(mixed, Tensor)
        return mixed.flatten(1)
