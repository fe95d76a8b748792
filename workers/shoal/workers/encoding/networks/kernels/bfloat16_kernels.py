"""bfloat16 operations that torch computes slowly on a CPU, compiled with numba: layer norm, and building blocks.

Arrays hold bfloat16 as uint16 bits. Sums are in float32, and each result is rounded once, to nearest even. The many
explicit conversions keep numba from widening to 64 bits, which would halve the numbers per vector.
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
    """A view of a contiguous bfloat16 CPU tensor as a uint16 array of the same shape."""
    return tensor.view(uint16).numpy()


@inlined
def widened(value: Any) -> Any:
    """The bits of a bfloat16 as float32."""
    return _u32(_u32(value) << _u32(16)).view(np.float32)


@inlined
def rounded(value: Any) -> Any:
    """A float32 rounded to bfloat16, as bits."""
    raw = _f32(value).view(np.uint32)
    return np.uint16(_u32(raw + _u32(0x7FFF) + _u32(_u32(raw >> _u32(16)) & _u32(1))) >> _u32(16))


@inlined
def power_of_two(power: Any) -> Any:
    """2 to a power of at most 0, with relative error 2e-4 (bfloat16 has 4e-3).

    2^(whole + part) with -1 < part <= 0: the whole goes to the exponent bits, the part to a polynomial (the Taylor series
    of 2^x to the fifth power). Unlike numpy's function, it vectorises.
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
    """Normalises the rows of `x` (rows, size) to mean 0 and variance 1, times `weight` plus `bias` (size,) float32.

    `x` and the result `y` (rows, size) are uint16 bits of bfloat16.
    """
    rows, size = x.shape
    values = np.empty(size, np.float32)
    for row in range(rows):
        total = _f32(0)
        for column in range(size):
            value = widened(x[row, column])
            values[column] = value
            total += value
        mean = total / _f32(size)
        squares = _f32(0)
        for column in range(size):
            away = values[column] - mean
            values[column] = away
            squares += away * away
        share = _f32(1) / np.sqrt(squares / _f32(size) + _f32(eps))
        for column in range(size):
            y[row, column] = rounded(values[column] * share * weight[column] + bias[column])
