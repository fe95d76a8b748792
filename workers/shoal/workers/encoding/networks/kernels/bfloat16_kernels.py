"""What torch computes slowly on bfloat16 on a CPU, compiled with numba: layer norm, and the parts of other such loops.

Arrays hold bfloat16 as the 16 bits that they are; sums are in float32, and each result is rounded once, to nearest even.
Conversions are written out in full: each keeps numba from widening to 64 bits, which would halve the vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, uint16

from shoal.workers.runtime import compiled, inlined

Bits = npt.NDArray[np.uint16]

_f32, _i32, _u32 = np.float32, np.int32, np.uint32


def bits(tensor: Tensor) -> Bits:
    """The memory of a contiguous bfloat16 tensor on the CPU as an array of its shape."""
    return tensor.view(uint16).numpy()


@inlined
def widened(value: Any) -> Any:
    """The float32 of a bfloat16's bits."""
    return _u32(_u32(value) << _u32(16)).view(np.float32)


@inlined
def rounded(value: Any) -> Any:
    """The bits of the bfloat16 that is nearest to a float32."""
    raw = _f32(value).view(np.uint32)
    return np.uint16(_u32(raw + _u32(0x7FFF) + _u32(_u32(raw >> _u32(16)) & _u32(1))) >> _u32(16))


@inlined
def power_of_two(power: Any) -> Any:
    """2 to a power of at most 0, good to 2e-4, where bfloat16 keeps 4e-3.

    2^(whole + part) with -1 < part <= 0: the whole goes to the exponent's bits, the part to a polynomial (the Taylor series
    of 2^x to the fifth power). It vectorises, which numpy's does not.
    """
    power = power if power > _f32(-126) else _f32(-126)
    whole = _i32(power)
    part = power - _f32(whole)
    series = _f32(0.0096181291) + part * _f32(0.0013333558)
    series = _f32(0.2402265070) + part * (_f32(0.0555041087) + part * series)
    series = _f32(1) + part * (_f32(0.6931471806) + part * series)
    return series * _i32(_i32(whole + _i32(127)) << _i32(23)).view(np.float32)


@compiled
def layer_norm(x: Any, weight: Any, bias: Any, eps: Any, y: Any) -> None:
    """Rows of `x` (rows, size) normalised to mean 0 and variance 1, times `weight` plus `bias` (size,) float32, into `y`."""
    rows, size = x.shape
    values = np.empty(size, np.float32)
    for row in range(rows):
        total = _f32(0)
        for number in range(size):
            value = widened(x[row, number])
            values[number] = value
            total += value
        mean = total / _f32(size)
        squares = _f32(0)
        for number in range(size):
            away = values[number] - mean
            values[number] = away
            squares += away * away
        share = _f32(1) / np.sqrt(squares / _f32(size) + _f32(eps))
        for number in range(size):
            y[row, number] = rounded(values[number] * share * weight[number] + bias[number])
