"""Attention over texts laid end to end, in which no text sees another: by groups of equal length on a CPU, by torch's varlen
kernel on CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from shoal.workers.encoding.softmax import softmax_rows

# Above these lengths torch's blockwise kernel is the faster one: its products are slow in bfloat16, and the matrix of
# scores of a longer text leaves the cache.
_LONGEST_DIRECT = {torch.float32: 128, torch.bfloat16: 512}


class Attention(Protocol):
    """Attention for the texts of one batch."""

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        """Context (tokens, heads * size) for `qkv` (tokens, 3, heads, size), whose queries are scaled already.

        With a `window`, a token sees so many tokens to either side.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring texts of one length."""

    start: int
    texts: int
    length: int


class GroupedAttention:
    """For a CPU. Texts must be ordered by length: those of one length are computed together.

    Measured on a Zen 4 core (bf16, 12 heads of 32, 1,024 tokens): a product, softmax and a product take 3.4 ms at length
    256 and 0.6 ms at 16, torch's scaled_dot_product_attention 6.8 and 1.9 ms. In fp32 the two meet at length 128.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self._groups: list[_Group] = []
        start = 0
        for length, same in groupby(lengths):
            texts = len(list(same))
            self._groups.append(_Group(start, texts, length))
            start += texts * length

    def __call__(self, qkv: Tensor, window: int | None) -> Tensor:
        tokens, _, heads, size = qkv.shape
        context = qkv.new_empty(tokens, heads * size)
        for group in self._groups:
            n, length, stop = group.texts, group.length, group.start + group.texts * group.length
            q, k, v = qkv[group.start : stop].view(n, length, 3, heads, size).permute(2, 0, 3, 1, 4).contiguous().unbind()
            narrow = window is not None and window < length - 1
            if narrow or length > _LONGEST_DIRECT.get(qkv.dtype, 0):
                mask = _band(length, window, qkv.dtype) if narrow and window is not None else None
                mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
            else:
                scores = torch.bmm(q.view(n * heads, length, size), k.view(n * heads, length, size).transpose(1, 2))
                mixed = torch.bmm(softmax_rows(scores), v.view(n * heads, length, size)).view(n, heads, length, size)
            context[group.start : stop].view(n, length, heads, size).copy_(mixed.transpose(1, 2))
        return context


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
