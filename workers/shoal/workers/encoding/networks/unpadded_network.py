"""BERT and its kin computed on tokens laid end to end, without padding: norms, products and activations see one long matrix,
and only attention knows where texts begin. Here is what a CPU and CUDA share, and the network for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.networks.attention import Attention, cpu_attention
from shoal.workers.encoding.networks.encoder_weights import EncoderWeights
from shoal.workers.encoding.networks.network import FlatBatch, Network, sent
from shoal.workers.encoding.networks.unpadded_layer import Layer, LayerShape, PackedLayer, Turns, moved_norm, normed

# Tokens in a batch. On a CPU the rate is the same from 384 to 2,048 (short, medium and long texts: within 4 %), so a
# batch is short for the sake of those who wait.
CPU_BATCH_TOKENS = 512
# Below this, a batch for each core gains less than it costs.
CPU_MIN_TOKENS = 128


@dataclass(frozen=True, slots=True)
class FlatInputs:
    """A batch as the network reads it; each entry (tokens,)."""

    ids: Tensor
    places: Tensor
    """The place of each token in its text, from 0."""
    positions: Tensor
    """The same, but for tokens that have no position of their own."""
    unplaced: Tensor | None
    """Bool, which tokens those are; None for none."""
    types: Tensor | None
    """None where all are 0."""


class FlatStates:
    """The encoder's computation on the tensors of a batch: nothing here waits for a device."""

    def __init__(self, weights: EncoderWeights, layers: Sequence[Layer], device: torch.device, dtype: torch.dtype) -> None:
        self._dtype = dtype
        # Added and normalised in float32, and rounded once: three rows a token cost nothing beside the layers.
        self._words = weights.words.to(device, torch.float32)
        self._positions = None if weights.positions is None else weights.positions.to(device, torch.float32)
        self._types = None if weights.types is None else weights.types.to(device, torch.float32)
        self._embedding_norm = moved_norm(weights.embedding_norm, device, torch.float32)
        self._layers = layers
        self._final_norm = weights.final_norm and moved_norm(weights.final_norm, device, dtype)
        size = weights.hidden_size // weights.heads
        self._rotary = {base: _Rotary(base, size, device) for layer in layers if (base := layer.rotary_base)}

    def __call__(self, inputs: FlatInputs, attend: Attention) -> Tensor:
        """Last hidden states (tokens, hidden)."""
        x = self._embedded(inputs)
        turns = {base: rotary.turns(inputs.places) for base, rotary in self._rotary.items()}
        for layer in self._layers:
            qkv = layer.project(x, None if layer.rotary_base is None else turns[layer.rotary_base])
            x = layer.finish(x, attend(qkv, layer.window))
        return normed(x, self._final_norm) if self._final_norm else x

    def _embedded(self, inputs: FlatInputs) -> Tensor:
        x = torch.nn.functional.embedding(inputs.ids, self._words)
        if self._positions is not None:
            rows = torch.nn.functional.embedding(inputs.positions, self._positions)
            x = x + (rows if inputs.unplaced is None else rows.masked_fill(inputs.unplaced.unsqueeze(1), 0.0))
        if self._types is not None:
            types = self._types[0] if inputs.types is None else torch.nn.functional.embedding(inputs.types, self._types)
            x = x + types
        return normed(x, self._embedding_norm).to(self._dtype)


class FlatNetwork(Network):
    """For a CPU, in float32 or bfloat16, or with products in int8. Each of `threads` threads computes a batch of its own."""

    def __init__(self, weights: EncoderWeights, dtype: torch.dtype, threads: int, int8: bool = False) -> None:
        self.hidden_size = weights.hidden_size
        self.position_limit = weights.position_limit
        self.device = torch.device("cpu")
        self.bounds = BatchBounds(CPU_BATCH_TOKENS, rows=4096, min_tokens=CPU_MIN_TOKENS)
        # Threads that share a batch wait for each other at every product; threads with a batch each never do. Two threads
        # do take a lone query of 30 tokens from 5.6 to 3.6 ms while the cores are idle, but once other processes want
        # them too (a median of 91 ms was seen), each waits for one that is not running.
        self.inference_threads = threads
        self._dtype = dtype
        self._skipped_id = weights.positions_skip
        shape = LayerShape.of(weights)
        self._head_size = shape.head_size
        layers = [PackedLayer(layer, shape, dtype, int8) for layer in weights.layers]
        self._states = FlatStates(weights, layers, self.device, dtype)

    def init_inference_thread(self) -> None:
        """See `Network.init_inference_thread`."""
        torch.set_num_threads(1)

    @torch.inference_mode()
    def hidden(self, batch: FlatBatch) -> Tensor:
        """See `Network.hidden`."""
        if all(left >= right for left, right in zip(batch.lengths, batch.lengths[1:], strict=False)):
            return self._ordered(batch)
        ordered, back = _by_length(batch)
        return self._ordered(ordered)[back]

    def _ordered(self, batch: FlatBatch) -> Tensor:
        tokens = len(batch.ids)
        inputs = _filled(flat_inputs(batch, self._skipped_id, self.device), -tokens % _step(tokens))
        return self._states(inputs, cpu_attention(batch.lengths, self._dtype, self._head_size))[:tokens]


def _step(tokens: int) -> int:
    """What the number of tokens that is computed is a multiple of.

    oneDNN makes a kernel for each number that it meets: a millisecond for each product, and memory that stays, with holes
    around it that no later batch of another size fits (0.5 GiB after 200 sizes). So it meets few.
    """
    return 16 if tokens <= 128 else 32


def _filled(inputs: FlatInputs, rows: int) -> FlatInputs:
    """With so many tokens more at the end, which no text has and nobody reads."""
    if not rows:
        return inputs

    def longer(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values, (0, rows))

    return FlatInputs(
        ids=longer(inputs.ids),
        places=longer(inputs.places),
        positions=longer(inputs.positions),
        unplaced=None if inputs.unplaced is None else longer(inputs.unplaced),
        types=None if inputs.types is None else longer(inputs.types),
    )


def flat_inputs(batch: FlatBatch, skipped_id: int | None, device: torch.device) -> FlatInputs:
    """The batch on `device`. `skipped_id` is the token that has no position of its own (see `EncoderWeights`)."""
    places = np.arange(len(batch.ids), dtype=np.int64) - np.repeat(batch.starts[:-1], batch.lengths)
    positions, unplaced = places, None
    if skipped_id is not None and (skipped := batch.ids == skipped_id).any():
        # A text that spells the padding token: it is not counted, as the reference does not.
        before = np.cumsum(skipped) - skipped
        counted = places - (before - np.repeat(before[batch.starts[:-1]], batch.lengths))
        positions, unplaced = np.where(skipped, 0, counted), sent(skipped, device)
    sent_places = sent(places, device)
    return FlatInputs(
        ids=sent(batch.ids, device),
        places=sent_places,
        positions=sent_places if positions is places else sent(positions, device),
        unplaced=unplaced,
        types=None if batch.type_ids is None else sent(batch.type_ids, device),
    )


class _Rotary:
    """Rotary positions (Su et al. 2021, RoFormer) in the half-split form of Hugging Face."""

    def __init__(self, base: float, size: int, device: torch.device) -> None:
        self._frequencies = 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.float32, device=device) / size))

    def turns(self, places: Tensor) -> Turns:
        angles = places[:, None].float() * self._frequencies
        angles = torch.cat((angles, angles), dim=1)[:, None, None, :]
        return angles.cos(), angles.sin()


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
