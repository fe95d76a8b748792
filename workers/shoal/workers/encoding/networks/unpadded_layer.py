"""One layer of the flat network: from packed products on a CPU, as a function of tensors, to be compiled, on CUDA."""

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
    """What all layers of an encoder have in common."""

    activation: str
    gated: bool
    pre_norm: bool
    head_size: int

    @classmethod
    def of(cls, weights: EncoderWeights) -> LayerShape:
        return cls(weights.activation, weights.gated, weights.pre_norm, weights.hidden_size // weights.heads)


Turns = tuple[Tensor, Tensor]
"""Cosine and sine (tokens, 1, 1, size) float32 of the angles by which rotary positions turn queries and keys."""


class Layer(ABC):
    """States are (tokens, hidden); nothing here knows where texts begin."""

    window: int | None
    rotary_base: float | None

    @abstractmethod
    def project(self, x: Tensor, turns: Turns | None) -> Tensor:
        """Queries (scaled for attention), keys and values, (tokens, 3, heads, size), turned where there are `turns`."""

    @abstractmethod
    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The states after the layer, that got `x` and whose attention gave `mixed` (tokens, hidden)."""


class PackedLayer(Layer):
    """For a CPU."""

    def __init__(self, weights: LayerWeights, shape: LayerShape, dtype: torch.dtype, int8: bool) -> None:
        """With `int8` the products are computed in that; states are of `dtype`, bfloat16 then."""
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

    def project(self, x: Tensor, turns: Turns | None) -> Tensor:
        x = normed(x, self._attention_norm) if self._shape.pre_norm and self._attention_norm else x
        return _headed(self._qkv(x), self._shape, turns)

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


Begin = Callable[[Tensor, Turns | None, BeginWeights, LayerShape], Tensor]
Finish = Callable[[Tensor, Tensor, FinishWeights, LayerShape], Tensor]


def begin_layer(x: Tensor, turns: Turns | None, weights: BeginWeights, shape: LayerShape) -> Tensor:
    """See `Layer.project`; in plain operations, as `finish_layer`."""
    x = x if weights.norm is None else _plainly_normed(x, weights.norm)
    return _headed(_product(x, weights.qkv), shape, turns)


def finish_layer(x: Tensor, mixed: Tensor, weights: FinishWeights, shape: LayerShape) -> Tensor:
    """See `Layer.finish`; in plain operations, whose norms, biases, activation and residuals torch.compile fuses."""
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
    """For CUDA; `begin_with` and `finish_with` may be exchanged for compiled forms."""

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

    def project(self, x: Tensor, turns: Turns | None) -> Tensor:
        return self.begin_with(x, turns, self._begin, self._shape)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        return self.finish_with(x, mixed, self._finish, self._shape)


def moved_norm(norm: Norm, device: torch.device, dtype: torch.dtype) -> Norm:
    """The norm in the form that `normed` takes for states of that device and type."""
    if device.type == "cpu" and dtype is torch.bfloat16:
        # The compiled norm reads float32, and always a bias.
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


def _headed(qkv: Tensor, shape: LayerShape, turns: Turns | None) -> Tensor:
    qkv = qkv.view(qkv.shape[0], 3, -1, shape.head_size)
    return qkv if turns is None else _turned(qkv, *turns)


def _turned(qkv: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Queries and keys of (tokens, 3, heads, size) turned, in float32."""
    turned = qkv[:, :2].float()
    left, right = turned.chunk(2, dim=-1)
    turned = turned * cosines + torch.cat((-right, left), dim=-1) * sines
    return torch.cat((turned.to(qkv.dtype), qkv[:, 2:]), dim=1)


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
    """The form by which torch.compile knows that sizes stay: of plain tensors it takes each for one that may change, and
    makes kernels for rows of any width."""
    return torch.nn.Parameter(tensor, requires_grad=False)


def _scaled(qkv: Dense, size: int) -> Dense:
    """Queries scaled for attention in their weights, where it costs nothing."""
    rows = qkv.weight.shape[0] // 3
    factors = torch.ones(3 * rows, dtype=torch.float32, device=qkv.weight.device)
    factors[:rows] = size**-0.5
    return Dense(qkv.weight.float() * factors[:, None], None if qkv.bias is None else qkv.bias.float() * factors)
