"""BERT-family encoders on tokens laid end to end, without padding.

Norms, products and activations work on one long matrix; only attention knows where texts begin. This module has what CPU
and CUDA share, and the network for a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.networks.attention import Attention, cpu_attention
from shoal.workers.encoding.networks.encoder_weights import EncoderWeights
from shoal.workers.encoding.networks.network import Network, UnpaddedBatch, to_device
from shoal.workers.encoding.networks.unpadded_layer import Layer, LayerShape, PackedLayer, Rotations, moved_norm, normed

# Tokens in a batch. On a CPU the throughput is the same from 384 to 2,048 (within 4 % for short, medium and long texts), so
# batches are small for the sake of waiting requests.
CPU_BATCH_TOKENS = 512
# Below this, dividing a batch among cores gains less than it costs.
CPU_MIN_TOKENS = 128


@dataclass(frozen=True, slots=True)
class UnpaddedInputs:
    """A batch as tensors on the network's device; each is (tokens,)."""

    ids: Tensor
    offsets: Tensor
    """Index of each token in its text, from 0."""
    positions: Tensor
    """Like `offsets`, but not counting tokens without a position of their own."""
    without_position: Tensor | None
    """Bool mask of those tokens; None if there are none."""
    types: Tensor | None
    """None if all are 0."""


class UnpaddedEncoder:
    """The encoder's computation on the tensors of a batch. Never waits for the device."""

    def __init__(self, weights: EncoderWeights, layers: Sequence[Layer], device: torch.device, dtype: torch.dtype) -> None:
        self._dtype = dtype
        # Added and normalised in float32, and rounded once: three rows per token cost nothing compared with the layers.
        self._words = weights.words.to(device, torch.float32)
        self._positions = None if weights.positions is None else weights.positions.to(device, torch.float32)
        self._types = None if weights.types is None else weights.types.to(device, torch.float32)
        self._embedding_norm = moved_norm(weights.embedding_norm, device, torch.float32)
        self._layers = layers
        self._final_norm = weights.final_norm and moved_norm(weights.final_norm, device, dtype)
        size = weights.hidden_size // weights.heads
        self._rotary = {base: _Rotary(base, size, device) for layer in layers if (base := layer.rotary_base)}

    def __call__(self, inputs: UnpaddedInputs, attend: Attention) -> Tensor:
        """Last hidden states (tokens, hidden)."""
        x = self._embedded(inputs)
        rotations = {base: rotary.rotations(inputs.offsets) for base, rotary in self._rotary.items()}
        for layer in self._layers:
            qkv = layer.project(x, None if layer.rotary_base is None else rotations[layer.rotary_base])
            x = layer.finish(x, attend(qkv, layer.window))
        return normed(x, self._final_norm) if self._final_norm else x

    def _embedded(self, inputs: UnpaddedInputs) -> Tensor:
        x = torch.nn.functional.embedding(inputs.ids, self._words)
        if self._positions is not None:
            rows = torch.nn.functional.embedding(inputs.positions, self._positions)
            x = x + (
                rows if inputs.without_position is None else rows.masked_fill(inputs.without_position.unsqueeze(1), 0.0)
            )
        if self._types is not None:
            types = self._types[0] if inputs.types is None else torch.nn.functional.embedding(inputs.types, self._types)
            x = x + types
        return normed(x, self._embedding_norm).to(self._dtype)


class UnpaddedNetwork(Network):
    """For a CPU, in float32 or bfloat16, or with products in int8. Each of `threads` threads computes its own batch."""

    def __init__(self, weights: EncoderWeights, dtype: torch.dtype, threads: int, int8: bool = False) -> None:
        self.hidden_size = weights.hidden_size
        self.position_limit = weights.position_limit
        self.stated_positions = weights.stated_positions
        self.device = torch.device("cpu")
        self.bounds = BatchBounds(CPU_BATCH_TOKENS, rows=4096, min_tokens=CPU_MIN_TOKENS)
        # Threads that share a batch wait for each other at every product; threads with a batch each never do. On idle
        # cores two threads take a lone query of 30 tokens from 5.6 to 3.6 ms, but when other processes compete for the
        # cores, each waits for a thread that is not running (median 91 ms).
        self.inference_threads = threads
        self._dtype = dtype
        self._skipped_id = weights.positions_skip
        shape = LayerShape.of(weights)
        self._head_size = shape.head_size
        layers = [PackedLayer(layer, shape, dtype, int8) for layer in weights.layers]
        self._states = UnpaddedEncoder(weights, layers, self.device, dtype)

    def init_inference_thread(self) -> None:
        """See `Network.init_inference_thread`."""
        torch.set_num_threads(1)

    @torch.inference_mode()
    def hidden(self, batch: UnpaddedBatch) -> Tensor:
        """See `Network.hidden`."""
        if all(left >= right for left, right in zip(batch.lengths, batch.lengths[1:], strict=False)):
            return self._ordered(batch)
        ordered, back = _by_length(batch)
        return self._ordered(ordered)[back]

    def _ordered(self, batch: UnpaddedBatch) -> Tensor:
        tokens = len(batch.ids)
        inputs = _filled(unpadded_inputs(batch, self._skipped_id, self.device), -tokens % _step(tokens))
        return self._states(inputs, cpu_attention(batch.lengths, self._dtype, self._head_size))[:tokens]


def _step(tokens: int) -> int:
    """Token counts are rounded up to a multiple of this.

    oneDNN compiles a kernel for each new token count. That takes a millisecond per product, and memory that is never freed
    and leaves gaps that no batch of another size fits (0.5 GiB after 200 sizes). So there should be few token counts.
    """
    return 16 if tokens <= 128 else 32


def _filled(inputs: UnpaddedInputs, rows: int) -> UnpaddedInputs:
    """The inputs with `rows` more tokens at the end, which belong to no text and are never read."""
    if not rows:
        return inputs

    def longer(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values, (0, rows))

    return UnpaddedInputs(
        ids=longer(inputs.ids),
        offsets=longer(inputs.offsets),
        positions=longer(inputs.positions),
        without_position=None if inputs.without_position is None else longer(inputs.without_position),
        types=None if inputs.types is None else longer(inputs.types),
    )


def unpadded_inputs(batch: UnpaddedBatch, skipped_id: int | None, device: torch.device) -> UnpaddedInputs:
    """The batch on `device`. `skipped_id` is the token without a position of its own (see `EncoderWeights`)."""
    offsets = np.arange(len(batch.ids), dtype=np.int64) - np.repeat(batch.starts[:-1], batch.lengths)
    positions, without_position = offsets, None
    if skipped_id is not None and (skipped := batch.ids == skipped_id).any():
        # A text that contains the padding token: it is not counted, as in the reference implementation.
        before = np.cumsum(skipped) - skipped
        counted = offsets - (before - np.repeat(before[batch.starts[:-1]], batch.lengths))
        positions, without_position = np.where(skipped, 0, counted), to_device(skipped, device)
    device_offsets = to_device(offsets, device)
    return UnpaddedInputs(
        ids=to_device(batch.ids, device),
        offsets=device_offsets,
        positions=device_offsets if positions is offsets else to_device(positions, device),
        without_position=without_position,
        types=None if batch.type_ids is None else to_device(batch.type_ids, device),
    )


class _Rotary:
    """Rotary positions (Su et al. 2021, "RoFormer") in the half-split form of Hugging Face."""

    def __init__(self, base: float, size: int, device: torch.device) -> None:
        self._frequencies = 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.float32, device=device) / size))

    def rotations(self, offsets: Tensor) -> Rotations:
        angles = offsets[:, None].float() * self._frequencies
        angles = torch.cat((angles, angles), dim=1)[:, None, None, :]
        return angles.cos(), angles.sin()


def _by_length(batch: UnpaddedBatch) -> tuple[UnpaddedBatch, Tensor]:
    """The batch with the longest texts first, and the index there of each of its tokens, in the old order."""
    lengths = np.asarray(batch.lengths)
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    # Token p of a text that began at s and now begins at t comes from s + p, which is its new index + s - t.
    tokens = np.arange(len(batch.ids)) + np.repeat(batch.starts[order] - (np.cumsum(ordered) - ordered), ordered)
    back = np.empty_like(tokens)
    back[tokens] = np.arange(len(tokens))
    type_ids = None if batch.type_ids is None else batch.type_ids[tokens]
    return UnpaddedBatch(batch.ids[tokens], ordered.tolist(), type_ids), torch.from_numpy(back)
