"""Small batches of the unpadded network as CUDA graphs: one launch instead of hundreds."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.networks.attention import VarlenAttention
from shoal.workers.encoding.networks.network import UnpaddedBatch, to_device
from shoal.workers.encoding.networks.unpadded_network import UnpaddedEncoder, UnpaddedInputs

RECORDED = ((16, 4), (32, 4), (64, 8), (128, 16), (256, 32), (512, 64))
"""The largest batch of each graph: tokens and texts."""


class RecordedBatches:
    """A graph for each of `RECORDED`. Only one of them runs at a time: graphs that are recorded on one stream share its
    cuBLAS workspace."""

    def __init__(self, states: UnpaddedEncoder, most_tokens: int, device: torch.device) -> None:
        """`most_tokens` is the longest text."""
        self._device = device
        self._lock = threading.Lock()
        # One stream for all graphs: each stream that computes gets a workspace, and keeps it.
        side = torch.cuda.Stream(device)
        self._graphs = [_Graph(states, tokens, texts, min(tokens, most_tokens), device, side) for tokens, texts in RECORDED]
        self._free = torch.cuda.Event()
        self._free.record(torch.cuda.current_stream(device))

    def hidden(self, batch: UnpaddedBatch) -> Tensor | None:
        """Last hidden states (tokens, hidden); None for a batch that is too large for all graphs.

        The batch must not have type ids or tokens without a position.
        """
        for graph in self._graphs:
            if len(batch.ids) <= graph.tokens and len(batch.lengths) <= graph.texts:
                with self._lock:
                    stream = torch.cuda.current_stream(self._device)
                    stream.wait_event(self._free)
                    hidden = graph.replay(batch)
                    self._free.record(stream)
                    return hidden
        return None


class _Graph:
    """A graph for at most `tokens` tokens and `texts` texts. Unused texts have length 0; unused tokens are computed, but
    never read."""

    def __init__(
        self, states: UnpaddedEncoder, tokens: int, texts: int, longest: int, device: torch.device, side: torch.cuda.Stream
    ) -> None:
        self.tokens, self.texts = tokens, texts
        self._device = device
        self._ids = torch.zeros(tokens, dtype=torch.int32, device=device)
        self._offsets = torch.zeros(tokens, dtype=torch.int64, device=device)
        self._starts = torch.zeros(texts + 1, dtype=torch.int32, device=device)
        self._starts[1:] = longest
        inputs = UnpaddedInputs(self._ids, self._offsets, self._offsets, None, None)
        attend = VarlenAttention(self._starts, longest)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            # Libraries initialise themselves in their first calls, which cannot be recorded.
            for _ in range(3):
                states(inputs, attend)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._hidden = states(inputs, attend)

    def replay(self, batch: UnpaddedBatch) -> Tensor:
        tokens = len(batch.ids)
        offsets = np.arange(tokens, dtype=np.int64) - np.repeat(batch.starts[:-1], batch.lengths)
        starts = np.full(self.texts + 1, tokens, dtype=np.int32)
        starts[: len(batch.starts)] = batch.starts
        self._ids[:tokens].copy_(to_device(batch.ids, self._device), non_blocking=True)
        self._offsets[:tokens].copy_(to_device(offsets, self._device), non_blocking=True)
        self._starts.copy_(to_device(starts, self._device), non_blocking=True)
        self._graph.replay()
        return self._hidden[:tokens].clone()
