"""BERT and its kin computed on tokens laid end to end, without padding: norms, products and activations see one long matrix,
and only attention knows where texts begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shoal.workers.encoding import bfloat16_kernels as kernels
from shoal.workers.encoding.attention import Attention, GroupedAttention, VarlenAttention
from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.encoder_weights import Dense, EncoderWeights, LayerWeights, Norm
from shoal.workers.encoding.linear import ACTIVATIONS, Linear, linear
from shoal.workers.encoding.network import FlatBatch, Network

# On a CPU more only leaves its cache; a GPU needs much to be busy.
CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 65_536


def can_be_flat(weights: EncoderWeights, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the flat network computes this encoder: its activation is known, and the device has the attention for it."""
    if weights.activation not in ACTIVATIONS:
        return False
    if device.type == "cpu":
        return True
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    size = weights.hidden_size // weights.heads
    return torch.cuda.get_device_capability(device) >= (8, 0) and size % 8 == 0 and size <= 256


class FlatNetwork(Network):
    """An encoder of our own on the weights of any architecture in `encoder_weights`."""

    def __init__(self, weights: EncoderWeights, device: torch.device, dtype: torch.dtype, threads: int) -> None:
        """Takes the weights to `device` and `dtype`. On a CPU each of `threads` threads computes a batch of its own."""
        self.hidden_size = weights.hidden_size
        self.position_limit = weights.position_limit
        self.device = device
        self.bounds = BatchBounds(CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS, rows=4096)
        # Threads that share a batch wait for each other at every product; threads with a batch each never do.
        self.lanes = threads if device.type == "cpu" else 1
        self._dtype = dtype
        self._heads, self._size = weights.heads, weights.hidden_size // weights.heads
        self._gated, self._pre_norm = weights.gated, weights.pre_norm
        self._activation = ACTIVATIONS[weights.activation]
        # Added and normalised in float32, and rounded once: three rows a token cost nothing beside the layers.
        self._words = weights.words.to(device, torch.float32)
        self._positions = None if weights.positions is None else weights.positions.to(device, torch.float32)
        self._positions_skip = weights.positions_skip
        self._types = None if weights.types is None else weights.types.to(device, torch.float32)
        self._embedding_norm = _moved(weights.embedding_norm, device, torch.float32)
        self._layers = [self._layer(layer, weights.activation) for layer in weights.layers]
        self._final_norm = None if weights.final_norm is None else _moved(weights.final_norm, device, dtype)
        self._rotary = {base: _Rotary(base, self._size, device) for layer in weights.layers if (base := layer.rotary_base)}

    def enter_lane(self) -> None:
        """See `Network.enter_lane`."""
        if self.device.type == "cpu":
            torch.set_num_threads(1)

    def hidden(self, batch: FlatBatch) -> Tensor:
        """See `Network.hidden`."""
        if self.device.type == "cuda":
            return self._compute(batch, VarlenAttention(_sent(batch.starts, self.device), max(batch.lengths)))
        if all(left >= right for left, right in zip(batch.lengths, batch.lengths[1:], strict=False)):
            return self._compute(batch, GroupedAttention(batch.lengths, self._dtype))
        ordered, back = _by_length(batch)
        return self._compute(ordered, GroupedAttention(ordered.lengths, self._dtype))[back]

    @torch.inference_mode()
    def _compute(self, batch: FlatBatch, attend: Attention) -> Tensor:
        places = _places(batch)
        x = self._embedded(batch, places)
        turns = {base: rotary.turns(places) for base, rotary in self._rotary.items()}
        for layer in self._layers:
            source = x if layer.attention_norm is None or not self._pre_norm else _normed(x, layer.attention_norm)
            qkv = layer.qkv(source).view(-1, 3, self._heads, self._size)
            if layer.rotary_base is not None:
                qkv = _turned(qkv, *turns[layer.rotary_base])
            x = layer.out.plus(attend(qkv, layer.window), x)
            if not self._pre_norm and layer.attention_norm is not None:
                x = _normed(x, layer.attention_norm)
            inner = layer.up(_normed(x, layer.mlp_norm) if self._pre_norm else x)
            if self._gated:
                activated, factor = inner.chunk(2, dim=1)
                inner = self._activation(activated) * factor
            x = layer.down.plus(inner, x)
            if not self._pre_norm:
                x = _normed(x, layer.mlp_norm)
        return x if self._final_norm is None else _normed(x, self._final_norm)

    def _embedded(self, batch: FlatBatch, places: npt.NDArray[np.int64]) -> Tensor:
        x = torch.nn.functional.embedding(_sent(batch.ids, self.device), self._words)
        if self._positions is not None:
            x = x + self._position_rows(batch, places)
        if self._types is not None:
            types = batch.type_ids
            x = x + (
                self._types[0] if types is None else torch.nn.functional.embedding(_sent(types, self.device), self._types)
            )
        return _normed(x, self._embedding_norm).to(self._dtype)

    def _position_rows(self, batch: FlatBatch, places: npt.NDArray[np.int64]) -> Tensor:
        assert self._positions is not None
        if self._positions_skip is None or not (skipped := batch.ids == self._positions_skip).any():
            return torch.nn.functional.embedding(_sent(places, self.device), self._positions)
        # A text that spells the padding token: it is not counted, as the reference does not.
        before = np.cumsum(skipped) - skipped
        starts = batch.starts[:-1]
        counted = places - (before - np.repeat(before[starts], batch.lengths))
        rows = torch.nn.functional.embedding(_sent(np.where(skipped, 0, counted), self.device), self._positions)
        return rows.masked_fill(_sent(skipped, self.device).unsqueeze(1), 0.0)

    def _layer(self, layer: LayerWeights, activation: str) -> _Layer:
        def moved(dense: Dense) -> Dense:
            bias = None if dense.bias is None else dense.bias.to(self.device, self._dtype)
            return Dense(dense.weight.to(self.device, self._dtype), bias)

        return _Layer(
            attention_norm=None if layer.attention_norm is None else _moved(layer.attention_norm, self.device, self._dtype),
            qkv=linear(moved(_scaled(layer.qkv, self._size))),
            out=linear(moved(layer.out)),
            mlp_norm=_moved(layer.mlp_norm, self.device, self._dtype),
            up=linear(moved(layer.up), "" if self._gated else activation),
            down=linear(moved(layer.down)),
            window=layer.window,
            rotary_base=layer.rotary_base,
        )


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer as it is computed."""

    attention_norm: Norm | None
    qkv: Linear
    out: Linear
    mlp_norm: Norm
    up: Linear
    down: Linear
    window: int | None
    rotary_base: float | None


class _Rotary:
    """Rotary positions (Su et al. 2021, RoFormer) in the half-split form of Hugging Face."""

    def __init__(self, base: float, size: int, device: torch.device) -> None:
        self._frequencies = 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.float32, device=device) / size))

    def turns(self, places: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Cosine and sine (tokens, 1, 1, size) float32 of each token's angles."""
        angles = _sent(places, self._frequencies.device)[:, None].float() * self._frequencies
        angles = torch.cat((angles, angles), dim=1)[:, None, None, :]
        return angles.cos(), angles.sin()


def _turned(qkv: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Queries and keys of (tokens, 3, heads, size) turned, in float32."""
    turned = qkv[:, :2].float()
    left, right = turned.chunk(2, dim=-1)
    turned = turned * cosines + torch.cat((-right, left), dim=-1) * sines
    return torch.cat((turned.to(qkv.dtype), qkv[:, 2:]), dim=1)


def _scaled(qkv: Dense, size: int) -> Dense:
    """Queries scaled for attention in their weights, where it costs nothing."""
    rows = qkv.weight.shape[0] // 3
    factors = torch.ones(3 * rows, dtype=torch.float32, device=qkv.weight.device)
    factors[:rows] = size**-0.5
    return Dense(qkv.weight.float() * factors[:, None], None if qkv.bias is None else qkv.bias.float() * factors)


def _moved(norm: Norm, device: torch.device, dtype: torch.dtype) -> Norm:
    if device.type == "cpu" and dtype is torch.bfloat16:
        # The compiled norm reads float32, and always a bias.
        bias = torch.zeros_like(norm.weight) if norm.bias is None else norm.bias
        return Norm(norm.weight.float().contiguous(), bias.float().contiguous(), norm.eps)
    return Norm(norm.weight.to(device, dtype), None if norm.bias is None else norm.bias.to(device, dtype), norm.eps)


def _normed(x: Tensor, norm: Norm) -> Tensor:
    if x.device.type == "cpu" and x.dtype is torch.bfloat16:
        assert norm.bias is not None
        y = torch.empty_like(x)
        kernels.layer_norm(kernels.bits(x), norm.weight.numpy(), norm.bias.numpy(), norm.eps, kernels.bits(y))
        return y
    return torch.nn.functional.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def _places(batch: FlatBatch) -> npt.NDArray[np.int64]:
    """The place of each token in its text, from 0."""
    starts = batch.starts[:-1]
    return np.arange(len(batch.ids), dtype=np.int64) - np.repeat(starts, batch.lengths)


def _by_length(batch: FlatBatch) -> tuple[FlatBatch, Tensor]:
    """The batch with its longest texts first, and where each of its tokens is found there."""
    lengths = np.asarray(batch.lengths)
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    # The token at place p of a text that began at s and now begins at t comes from s + p, which is its new index + s - t.
    tokens = np.arange(len(batch.ids)) + np.repeat(batch.starts[order] - (np.cumsum(ordered) - ordered), ordered)
    back = np.empty_like(tokens)
    back[tokens] = np.arange(len(tokens))
    type_ids = None if batch.type_ids is None else batch.type_ids[tokens]
    return FlatBatch(batch.ids[tokens], ordered.tolist(), type_ids), torch.from_numpy(back)


def _sent(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on the device; to a GPU through pinned memory, so that the copy does not hold up the caller."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
