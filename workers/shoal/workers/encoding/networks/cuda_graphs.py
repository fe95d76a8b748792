"""Small batches of the flat network as CUDA graphs: one launch in place of some hundred."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.networks.attention import VarlenAttention
from shoal.workers.encoding.networks.network import FlatBatch, sent
from shoal.workers.encoding.networks.unpadded_network import FlatInputs, FlatStates

RECORDED = ((16, 4), (32, 4), (64, 8), (128, 16), (256, 32), (512, 64))
"""Sizes that batches are recorded for: tokens, and texts at most."""


class RecordedBatches:
    """A graph for each of `RECORDED`. Only one of them runs at a time: whatever is recorded on one stream shares the
    memory that products keep their parts in (one workspace of cuBLAS for each stream)."""

    def __init__(self, states: FlatStates, most_tokens: int, device: torch.device) -> None:
        """Of a text it reads `most_tokens`."""
        self._device = device
        self._lock = threading.Lock()
        # Each stream that computes gets such memory, and keeps it.
        side = torch.cuda.Stream(device)
        self._graphs = [_Graph(states, tokens, texts, min(tokens, most_tokens), device, side) for tokens, texts in RECORDED]
        self._free = torch.cuda.Event()
        self._free.record(torch.cuda.current_stream(device))

    def hidden(self, batch: FlatBatch) -> Tensor | None:
        """Last hidden states; None for a batch that is too large. No batch may have types or tokens without a position."""
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
    """For at most so many tokens and texts. Texts that are not there have length 0, and what lies behind the last text is
    computed and never read."""

    def __init__(
        self, states: FlatStates, tokens: int, texts: int, longest: int, device: torch.device, side: torch.cuda.Stream
    ) -> None:
        self.tokens, self.texts = tokens, texts
        self._device = device
        self._ids = torch.zeros(tokens, dtype=torch.int32, device=device)
        self._places = torch.zeros(tokens, dtype=torch.int64, device=device)
        self._starts = torch.zeros(texts + 1, dtype=torch.int32, device=device)
        self._starts[1:] = longest
        inputs = FlatInputs(self._ids, self._places, self._places, None, None)
        attend = VarlenAttention(self._starts, longest)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            # Libraries set themselves up at their first calls, which cannot be recorded.
            for _ in range(3):
                states(inputs, attend)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._hidden = states(inputs, attend)

    def replay(self, batch: FlatBatch) -> Tensor:
        tokens = len(batch.ids)
        places = np.arange(tokens, dtype=np.int64) - np.repeat(batch.starts[:-1], batch.lengths)
        starts = np.full(self.texts + 1, tokens, dtype=np.int32)
        starts[: len(batch.starts)] = batch.starts
        self._ids[:tokens].copy_(sent(batch.ids, self._device), non_blocking=True)
        self._places[:tokens].copy_(sent(places, self._device), non_blocking=True)
        self._starts.copy_(sent(starts, self._device), non_blocking=True)
        self._graph.replay()
        return self._hidden[:tokens].clone()
