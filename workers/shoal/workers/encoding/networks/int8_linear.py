"""Linear layers in int8 on a CPU: weights scaled per output, activations per token at run time, exact sums in int32.

Twice as fast as bfloat16, at the price of less exact vectors. Scaling per token keeps MiniLM's vectors at a cosine to
float32 above 0.99 (docs/quality.md); with one scale for a batch, a single outlier would cost more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.networks.encoder_weights import Dense
from shoal.workers.encoding.networks.kernels.bfloat16_kernels import bits, power_of_two, rounded, widened
from shoal.workers.encoding.networks.linear import Linear
from shoal.workers.runtime import compiled

_f32, _i32 = np.float32, np.int32


class Int8Linear(Linear):
    """For bfloat16 states."""

    FUSED = ("gelu",)
    """Activations that it applies itself."""

    def __init__(self, layer: Dense, activation: str = "") -> None:
        """`activation` is "" or one of FUSED; raises ValueError for any other."""
        if activation and activation not in self.FUSED:
            raise ValueError(f"activation {activation!r} is not supported in int8")
        weight = layer.weight.float()
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        self._weight = (weight / scale[:, None]).round().to(torch.int8).t()
        self._scale = scale.numpy()
        self._bias = (torch.zeros(len(scale)) if layer.bias is None else layer.bias.float()).numpy()
        self._gelu = activation == "gelu"

    def __call__(self, x: Tensor) -> Tensor:
        sums, scales = self._product(x)
        y = x.new_empty(sums.shape)
        if self._gelu:
            _finish_gelu(sums.numpy(), scales, self._scale, self._bias, bits(y))
        else:
            _finish(sums.numpy(), scales, self._scale, self._bias, bits(y))
        return y

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        sums, scales = self._product(x)
        y = x.new_empty(sums.shape)
        _finish_plus(sums.numpy(), scales, self._scale, self._bias, bits(residual), bits(y))
        return y

    def _product(self, x: Tensor) -> tuple[Tensor, Any]:
        """Sums (tokens, out) int32, and the scale of each token (tokens,) float32."""
        quantized = torch.empty(x.shape, dtype=torch.int8)
        scales = np.empty(len(x), np.float32)
        _quantize(bits(x.contiguous()), quantized.numpy(), scales)
        return torch.ops.aten._int_mm(quantized, self._weight), scales


@compiled
def _quantize(x: Any, quantized: Any, scales: Any) -> None:
    """Divides each bfloat16 row by its scale, which maps its largest number to 127."""
    rows, size = x.shape
    for row in range(rows):
        # Without the sign, the bits of floats have the order of the floats.
        largest = _i32(0)
        for column in range(size):
            largest = max(largest, _i32(_i32(x[row, column]) & _i32(0x7FFF)))
        scale = widened(np.uint16(largest)) / _f32(127)
        scales[row] = scale
        share = _f32(1) / scale if scale > _f32(0) else _f32(0)
        for column in range(size):
            value = widened(x[row, column]) * share
            quantized[row, column] = np.int8(_i32(value + (_f32(0.5) if value > _f32(0) else _f32(-0.5))))


@compiled
def _finish(sums: Any, scales: Any, weight_scales: Any, bias: Any, y: Any) -> None:
    rows, size = sums.shape
    for row in range(rows):
        scale = scales[row]
        for column in range(size):
            y[row, column] = rounded(_f32(sums[row, column]) * scale * weight_scales[column] + bias[column])


@compiled
def _finish_plus(sums: Any, scales: Any, weight_scales: Any, bias: Any, residual: Any, y: Any) -> None:
    rows, size = sums.shape
    for row in range(rows):
        scale = scales[row]
        for column in range(size):
            value = _f32(sums[row, column]) * scale * weight_scales[column] + bias[column]
            y[row, column] = rounded(value + widened(residual[row, column]))


@compiled
def _finish_gelu(sums: Any, scales: Any, weight_scales: Any, bias: Any, y: Any) -> None:
    rows, size = sums.shape
    for row in range(rows):
        scale = scales[row]
        for column in range(size):
            value = _f32(sums[row, column]) * scale * weight_scales[column] + bias[column]
            # x/2 (1 + erf(x/√2)), erf by formula 7.1.26 of Abramowitz and Stegun.
            size_of = abs(value) * _f32(0.70710678)
            t = _f32(1) / (_f32(1) + _f32(0.3275911) * size_of)
            series = _f32(1.421413741) + t * (_f32(-1.453152027) + t * _f32(1.061405429))
            series = t * (_f32(0.254829592) + t * (_f32(-0.284496736) + t * series))
            erf = _f32(1) - series * power_of_two(-size_of * size_of * _f32(1.4426950408889634))
            y[row, column] = rounded(_f32(0.5) * value * (_f32(1) + (erf if value > _f32(0) else -erf)))
