"""One layer of the unpadded network: with packed products on a CPU, as functions that torch.compile takes on CUDA."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shoal.workers.encoding.networks.encoder_weights import Dense, EncoderWeights, LayerWeights, Norm
from shoal.workers.encoding.networks.int8_linear import Int8Linear
from shoal.workers.encoding.networks.kernels import bfloat16_kernels as kernels
from shoal.workers.encoding.networks.linear import ACTIVATIONS, Linear, linear


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The settings that all layers of an encoder share."""

    activation: str
    gated: bool
    pre_norm: bool
    head_size: int

    @classmethod
    def of(cls, weights: EncoderWeights) -> LayerShape:
        return cls(weights.activation, weights.gated, weights.pre_norm, weights.hidden_size // weights.heads)


Rotations = tuple[Tensor, Tensor]
"""Cosine and sine (tokens, 1, 1, size) float32 of the angles by which rotary positions rotate queries and keys."""


class Layer(ABC):
    """States are (tokens, hidden); a layer does not know where texts begin."""

    window: int | None
    rotary_base: float | None

    @abstractmethod
    def project(self, x: Tensor, rotations: Rotations | None) -> Tensor:
        """Queries (scaled for attention), keys and values (tokens, 3, heads, size); with `rotations`, rotated by them."""

    @abstractmethod
    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The layer's output for its input `x` and the output `mixed` (tokens, hidden) of its attention."""


class PackedLayer(Layer):
    """For a CPU."""

    def __init__(self, weights: LayerWeights, shape: LayerShape, dtype: torch.dtype, int8: bool) -> None:
        """States are of `dtype`. `int8` computes products in int8; `dtype` must then be bfloat16."""
        self.window, self.rotary_base = weights.window, weights.rotary_base
        self._shape = shape
        self._activation = ACTIVATIONS[shape.activation]
        device = torch.device("cpu")
        self._attention_norm = weights.attention_norm and moved_norm(weights.attention_norm, device, dtype)
        self._mlp_norm = moved_norm(weights.mlp_norm, device, dtype)
        # An activation that cannot be fused with its product is applied after it.
        self._fused = not shape.gated and (not int8 or shape.activation in Int8Linear.FUSED)
        fused = shape.activation if self._fused else ""

        def made(layer: Dense, activation: str = "") -> Linear:
            return Int8Linear(layer, activation) if int8 else linear(_moved(layer, device, dtype), activation)

        self._qkv = made(_scaled(weights.qkv, shape.head_size))
        self._out = made(weights.out)
        self._up = made(weights.up, fused)
        self._down = made(weights.down)

    def project(self, x: Tensor, rotations: Rotations | None) -> Tensor:
        x = normed(x, self._attention_norm) if self._shape.pre_norm and self._attention_norm else x
        return _headed(self._qkv(x), self._shape, rotations)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = self._out.plus(mixed, x)
        if not self._shape.pre_norm and self._attention_norm:
            x = normed(x, self._attention_norm)
        inner = self._up(normed(x, self._mlp_norm) if self._shape.pre_norm else x)
        if self._shape.gated:
            activated, factor = inner.chunk(2, dim=1)
            inner = self._activation(activated) * factor
        elif not self._fused:
            inner = self._activation(inner)
        x = self._down.plus(inner, x)
        return x if self._shape.pre_norm else normed(x, self._mlp_norm)


@dataclass(frozen=True, slots=True)
class BeginWeights:
    """What `begin_layer` computes with."""

    norm: Norm | None
    qkv: Dense


@dataclass(frozen=True, slots=True)
class FinishWeights:
    """What `finish_layer` computes with."""

    out: Dense
    attention_norm: Norm | None
    up: Dense
    down: Dense
    mlp_norm: Norm


Begin = Callable[[Tensor, Rotations | None, BeginWeights, LayerShape], Tensor]
Finish = Callable[[Tensor, Tensor, FinishWeights, LayerShape], Tensor]


def begin_layer(x: Tensor, rotations: Rotations | None, weights: BeginWeights, shape: LayerShape) -> Tensor:
    """See `Layer.project`; in plain operations, like `finish_layer`."""
    x = x if weights.norm is None else _plainly_normed(x, weights.norm)
    return _headed(_product(x, weights.qkv), shape, rotations)


def finish_layer(x: Tensor, mixed: Tensor, weights: FinishWeights, shape: LayerShape) -> Tensor:
    """See `Layer.finish`; in plain operations, so that torch.compile fuses norms, biases, activation and residuals."""
    x = x + _product(mixed, weights.out)
    if not shape.pre_norm and weights.attention_norm is not None:
        x = _plainly_normed(x, weights.attention_norm)
    inner = _product(_plainly_normed(x, weights.mlp_norm) if shape.pre_norm else x, weights.up)
    if shape.gated:
        activated, factor = inner.chunk(2, dim=1)
        inner = ACTIVATIONS[shape.activation](activated) * factor
    else:
        inner = ACTIVATIONS[shape.activation](inner)
    x = x + _product(inner, weights.down)
    return x if shape.pre_norm else _plainly_normed(x, weights.mlp_norm)


class TensorLayer(Layer):
    """For CUDA; `begin_with` and `finish_with` may be replaced by compiled functions."""

    def __init__(self, weights: LayerWeights, shape: LayerShape, device: torch.device, dtype: torch.dtype) -> None:
        self.window, self.rotary_base = weights.window, weights.rotary_base
        self._shape = shape
        norm = weights.attention_norm and _fixed_norm(moved_norm(weights.attention_norm, device, dtype))
        self._begin = BeginWeights(
            norm=norm if shape.pre_norm else None, qkv=_fixed(_moved(_scaled(weights.qkv, shape.head_size), device, dtype))
        )
        self._finish = FinishWeights(
            out=_fixed(_moved(weights.out, device, dtype)),
            attention_norm=norm,
            up=_fixed(_moved(weights.up, device, dtype)),
            down=_fixed(_moved(weights.down, device, dtype)),
            mlp_norm=_fixed_norm(moved_norm(weights.mlp_norm, device, dtype)),
        )
        self.begin_with: Begin = begin_layer
        self.finish_with: Finish = finish_layer

    def project(self, x: Tensor, rotations: Rotations | None) -> Tensor:
        return self.begin_with(x, rotations, self._begin, self._shape)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        return self.finish_with(x, mixed, self._finish, self._shape)


def moved_norm(norm: Norm, device: torch.device, dtype: torch.dtype) -> Norm:
    """The norm as `normed` needs it for states on `device` and of type `dtype`."""
    if device.type == "cpu" and dtype is torch.bfloat16:
        # The compiled norm needs float32, and always a bias.
        bias = torch.zeros_like(norm.weight) if norm.bias is None else norm.bias
        return Norm(norm.weight.float().contiguous(), bias.float().contiguous(), norm.eps)
    return Norm(norm.weight.to(device, dtype), None if norm.bias is None else norm.bias.to(device, dtype), norm.eps)


def normed(x: Tensor, norm: Norm) -> Tensor:
    """Rows of `x` normalised."""
    if x.device.type == "cpu" and x.dtype is torch.bfloat16:
        assert norm.bias is not None
        y = torch.empty_like(x)
        kernels.layer_norm(kernels.bits(x), norm.weight.numpy(), norm.bias.numpy(), norm.eps, kernels.bits(y))
        return y
    return _plainly_normed(x, norm)


def _headed(qkv: Tensor, shape: LayerShape, rotations: Rotations | None) -> Tensor:
    qkv = qkv.view(qkv.shape[0], 3, -1, shape.head_size)
    return qkv if rotations is None else _rotated(qkv, *rotations)


def _rotated(qkv: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Queries and keys of (tokens, 3, heads, size) rotated, in float32."""
    rotated = qkv[:, :2].float()
    left, right = rotated.chunk(2, dim=-1)
    rotated = rotated * cosines + torch.cat((-right, left), dim=-1) * sines
    return torch.cat((rotated.to(qkv.dtype), qkv[:, 2:]), dim=1)


def _plainly_normed(x: Tensor, norm: Norm) -> Tensor:
    return torch.nn.functional.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def _product(x: Tensor, layer: Dense) -> Tensor:
    return torch.nn.functional.linear(x, layer.weight, layer.bias)


def _moved(layer: Dense, device: torch.device, dtype: torch.dtype) -> Dense:
    return Dense(layer.weight.to(device, dtype), None if layer.bias is None else layer.bias.to(device, dtype))


def _fixed(layer: Dense) -> Dense:
    return Dense(_parameter(layer.weight), None if layer.bias is None else _parameter(layer.bias))


def _fixed_norm(norm: Norm) -> Norm:
    return Norm(_parameter(norm.weight), None if norm.bias is None else _parameter(norm.bias), norm.eps)


def _parameter(tensor: Tensor) -> Tensor:
    """A parameter, so that torch.compile takes its sizes as fixed.

    For plain tensors it would compile kernels for rows of any width.
    """
    return torch.nn.Parameter(tensor, requires_grad=False)


def _scaled(qkv: Dense, size: int) -> Dense:
    """The layer with the queries' attention scale folded into their weights, where it costs nothing."""
    rows = qkv.weight.shape[0] // 3
    factors = torch.ones(3 * rows, dtype=torch.float32, device=qkv.weight.device)
    factors[:rows] = size**-0.5
    return Dense(qkv.weight.float() * factors[:, None], None if qkv.bias is None else qkv.bias.float() * factors)
