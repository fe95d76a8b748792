"""Attention on a CPU with AVX-512, compiled as one loop over texts and heads: scores never leave the L1 cache.

Plain softmax over complete rows of scores (Vaswani et al. 2017, "Attention Is All You Need"), six queries at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.workers.encoding.networks.kernels.bfloat16_kernels import rounded
from shoal.workers.encoding.networks.kernels.tile_code import MASKED, TILE_ROWS, VECTOR_FLOATS, exponentials, multiply_tile
from shoal.workers.runtime import compiled, inlined

_f32, _u32 = np.float32, np.uint32
# Columns of a tile: two vectors, or four.
_NARROW, _WIDE = 32, 64


@inlined
def _pack_keys(words: Any, start: int, length: int, head: int, columns: int, keys: Any) -> None:
    """Packs the keys of one head into panels of `columns` keys: for each step one word per key, 0 after the last key."""
    steps = words.shape[3]
    for first in range(0, length, columns):
        there = min(columns, length - first)
        at = first * steps
        for key in range(there):
            for step in range(steps):
                keys[at + step * columns + key] = words[start + first + key, 1, head, step]
        for step in range(steps if there < columns else 0):
            for key in range(there, columns):
                keys[at + step * columns + key] = 0


@inlined
def _pack_values(qkv: Any, start: int, length: int, head: int, grain: int, columns: int, values: Any) -> None:
    """Packs the values of one head into panels of `columns`: for each `grain` keys one word per column, 0 as padding."""
    size = qkv.shape[3]
    steps = (length + grain - 1) // grain
    for panel in range((size + columns - 1) // columns):
        there = min(columns, size - panel * columns)
        for step in range(steps):
            base = (panel * steps + step) * columns
            key = start + step * grain
            if grain == 1:
                for column in range(there):
                    values[base + column] = qkv[key, 2, head, panel * columns + column]
            elif step * grain + 1 < length:
                for column in range(there):
                    low = _u32(qkv[key, 2, head, panel * columns + column])
                    high = _u32(qkv[key + 1, 2, head, panel * columns + column])
                    values[base + column] = _u32(low | _u32(high << _u32(16)))
            else:
                for column in range(there):
                    values[base + column] = _u32(qkv[key, 2, head, panel * columns + column])
            for column in range(there, columns):
                values[base + column] = 0


@inlined
def _multiply(
    x: Any,
    x_at: int,
    x_stride: int,
    rows: int,
    weight: Any,
    weight_at: int,
    steps: int,
    columns: int,
    sums: Any,
    at: int,
    to: int,
) -> None:
    """See `multiply_tile`; `columns` is _NARROW or _WIDE, `at` the position and `to` the stride of the sums."""
    if columns == _NARROW:
        multiply_tile(x, x_at, x_stride, rows, weight, weight_at, steps, sums, at, to, 2)
    else:
        multiply_tile(x, x_at, x_stride, rows, weight, weight_at, steps, sums, at, to, 4)


@compiled
def attend(qkv: Any, words: Any, starts: Any, lengths: Any, window: int, context: Any) -> None:
    """Computes attention for texts laid end to end, into the rows of `context` (tokens, heads, size) that texts have.

    `qkv` (tokens, 3, heads, size) is float32, or uint16 with the bits of bfloat16, with scaled queries; `words` is the
    same memory as 32-bit elements. A token attends to `window` tokens on either side. `starts` and `lengths` (texts,) are
    int64.
    """
    heads, size = qkv.shape[2:]
    steps = words.shape[3]
    grain = size // steps
    columns = _NARROW if size <= _NARROW else _WIDE
    longest = 0
    for length in lengths:
        longest = max(longest, length)
    # Elements of a row of scores or shares (their exponentials).
    width = (longest + _WIDE - 1) // _WIDE * _WIDE
    keys = np.empty(width * steps, words.dtype)
    values = np.empty((size + columns - 1) // columns * columns * (longest + 1), words.dtype)
    scores = np.empty((TILE_ROWS, width), np.float32)
    shares = np.empty(TILE_ROWS * width // grain, words.dtype)
    mixed = np.empty((TILE_ROWS, _WIDE), np.float32)
    totals = np.empty(TILE_ROWS, np.float32)
    every, row_scores, row_mixed = words.reshape(-1), scores.reshape(-1), mixed.reshape(-1)
    stride = 3 * heads * steps
    for text in range(len(lengths)):
        start, length = starts[text], lengths[text]
        value_steps = (length + grain - 1) // grain
        panel_keys = _NARROW if length <= _NARROW else _WIDE
        for head in range(heads):
            _pack_keys(words, start, length, head, panel_keys, keys)
            _pack_values(qkv, start, length, head, grain, columns, values)
            for first in range(0, length, TILE_ROWS):
                rows = min(TILE_ROWS, length - first)
                # The keys in the window of any of these queries, in whole panels.
                begin = max(0, first - window) // panel_keys * panel_keys
                end = min(length, first + rows + window)
                padded = (end + panel_keys - 1) // panel_keys * panel_keys
                at = (start + first) * stride + head * steps
                for key in range(begin, padded, panel_keys):
                    _multiply(every, at, stride, rows, keys, key * steps, steps, panel_keys, row_scores, key, width)
                for row in range(rows):
                    for key in range(begin, first + row - window):
                        scores[row, key] = MASKED
                    for key in range(min(length, first + row + window + 1), padded):
                        scores[row, key] = MASKED
                exponentials(
                    row_scores,
                    begin,
                    width,
                    (padded - begin) // VECTOR_FLOATS,
                    shares,
                    begin // grain,
                    width // grain,
                    totals,
                )
                at, end = begin // grain, (end + grain - 1) // grain
                for column in range(0, size, columns):
                    to = (column // columns * value_steps + at) * columns
                    _multiply(shares, at, width // grain, rows, values, to, end - at, columns, row_mixed, 0, _WIDE)
                    for row in range(rows):
                        share = _f32(1) / totals[row]
                        for offset in range(min(columns, size - column)):
                            value = mixed[row, offset] * share
                            if grain == 1:
                                context[start + first + row, head, column + offset] = value
                            else:
                                context[start + first + row, head, column + offset] = rounded(value)
