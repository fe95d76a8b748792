"""Attention over texts laid end to end, where no text attends to another.

Compiled for a CPU with AVX-512, by groups of equal length on other CPUs, by torch's varlen kernel on CUDA.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.networks.kernels.bfloat16_kernels import bits
from shoal.workers.encoding.networks.kernels.tile_code import tiles_work
from shoal.workers.encoding.networks.kernels.tiled_attention import attend

# Above this length the matrix of scores does not fit the cache, and torch's blockwise kernel is faster.
_LONGEST_DIRECT = 128
_EVERY_TOKEN = 1 << 40


class Attention(Protocol):
    """Attention for the texts of one batch."""

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        """Context (tokens, heads * size) for `qkv` (tokens, 3, heads, size), whose queries are already scaled.

        A token attends to `window` tokens on either side; None for all.
        """
        ...


def cpu_attention(lengths: Sequence[int], dtype: torch.dtype, size: int) -> Attention:
    """The fastest attention on this CPU for texts of these `lengths` (tokens) and heads of `size`; float32 or bfloat16.

    Texts must be ordered by length, so that equal lengths are neighbours. Tokens after the last text get zeros.
    """
    pairs = dtype is torch.bfloat16
    if tiles_work(pairs) and not (pairs and size % 2):
        return TiledAttention(lengths)
    return GroupedAttention(lengths)


class TiledAttention:
    """For a CPU with AVX-512, and with AVX512-BF16 for bfloat16.

    On a Zen 5 core, 12 heads of size 32, 512 tokens: float32 takes 1.3 ms at length 256 and 0.5 ms at 64
    (GroupedAttention: 2.6 and 0.9 ms). bfloat16 takes 0.8 and 0.35 ms, and 1.0 ms for mixed lengths (torch's products with
    a compiled softmax: 0.95, 0.38 and 1.3 ms).
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self._lengths = np.array(lengths, dtype=np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        tokens, _, heads, size = qkv.shape
        context = qkv.new_empty(tokens, heads, size)
        context[int(self._lengths.sum()) :] = 0
        pairs = qkv.dtype is torch.bfloat16
        values, filled = (bits(qkv), bits(context)) if pairs else (qkv.numpy(), context.numpy())
        words = values.view(np.uint32) if pairs else values
        attend(values, words, self._starts, self._lengths, _EVERY_TOKEN if window is None else window, filled)
        return context.flatten(1)


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring texts of equal length."""

    start: int
    texts: int
    length: int

    @property
    def tokens(self) -> slice:
        return slice(self.start, self.start + self.texts * self.length)


class GroupedAttention:
    """For any CPU, in torch's own operations, all neighbouring texts of equal length at once."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._groups = list(_groups(lengths))
        self._tokens = sum(lengths)

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        tokens, _, heads, size = qkv.shape
        context = qkv.new_empty(tokens, heads, size)
        context[self._tokens :] = 0
        for group in self._groups:
            if (window is not None and window < group.length - 1) or group.length > _LONGEST_DIRECT:
                _blockwise(qkv, group, window, context)
            else:
                _direct(qkv, group, context)
        return context.flatten(1)


def _groups(lengths: Sequence[int]) -> Iterator[_Group]:
    start = 0
    for length, same in groupby(lengths):
        group = _Group(start, len(list(same)), length)
        yield group
        start = group.tokens.stop


def _direct(qkv: Tensor, group: _Group, context: Tensor) -> None:
    (_, _, heads, size), n, length = qkv.shape, group.texts, group.length
    parts = qkv[group.tokens].view(n, length, 3, heads, size).permute(2, 0, 3, 1, 4).contiguous()
    q, k, v = parts.view(3, n * heads, length, size).unbind()
    mixed = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1), v)
    context[group.tokens].view(n, length, heads, size).copy_(mixed.view(n, heads, length, size).transpose(1, 2))


def _blockwise(qkv: Tensor, group: _Group, window: int | None, context: Tensor) -> None:
    length = group.length
    mask = None if window is None or window >= length - 1 else _band(length, window, qkv.dtype)
    for start in range(group.start, group.tokens.stop, length):
        q, k, v = qkv[start : start + length].permute(1, 2, 0, 3).unsqueeze(1).unbind()
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        context[start : start + length] = mixed[0].transpose(0, 1)


def _band(length: int, window: int, dtype: torch.dtype) -> Tensor:
    offsets = torch.arange(length)
    near = (offsets[:, None] - offsets[None, :]).abs() <= window
    return torch.zeros(length, length, dtype=dtype).masked_fill(~near, float("-inf"))


class VarlenAttention:
    """For CUDA (compute capability 8.0 or newer, fp16 or bf16): torch's kernel over cumulative lengths."""

    def __init__(self, starts: Tensor, longest: int) -> None:
        """`starts` (texts + 1,) int32 on the device: the first token of each text, and the end of the last text."""
        from torch.nn.attention.varlen import varlen_attn

        self._attend = varlen_attn
        # With one split, a text's sums are added in the same order whatever else is in its batch. A torch without this
        # parameter never splits.
        one_split = "num_splits" in inspect.signature(varlen_attn).parameters
        self._unsplit: dict[str, Any] = {"num_splits": 1} if one_split else {}
        self._starts = starts
        self._longest = longest

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        q, k, v = qkv.unbind(1)
        reach = (-1, -1) if window is None else (window, window)
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
            **self._unsplit,
        )
        assert isinstance(mixed, Tensor)
        return mixed.flatten(1)
