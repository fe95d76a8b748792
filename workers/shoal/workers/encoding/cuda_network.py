"""The flat network on CUDA: two lanes with a stream each, so that the copies of one hide behind the computing of the other,
and compiled layers and recorded small batches where they turn out faster on the device at hand."""

from __future__ import annotations

import inspect
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.attention import VarlenAttention
from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.encoder_weights import EncoderWeights
from shoal.workers.encoding.flat_layer import LayerShape, TensorLayer, finish_layer
from shoal.workers.encoding.flat_network import FlatInputs, FlatStates, flat_inputs
from shoal.workers.encoding.model import one_line
from shoal.workers.encoding.network import FlatBatch, Network, sent

# A GPU needs much to be busy.
CUDA_BATCH_TOKENS = 65_536
LANES = 2
# Sizes that small batches are recorded for: tokens, and texts at most.
RECORDED = ((16, 4), (32, 4), (64, 8), (128, 16), (256, 32), (512, 64))
# What a compiled layer or a recorded batch may differ by from the plain computation.
_TOLERANCE = 0.05


def varlen_reason(weights: EncoderWeights, device: torch.device, dtype: torch.dtype) -> str:
    """Why this encoder cannot be computed flat on a CUDA device; empty when it can."""
    size = weights.hidden_size // weights.heads
    if dtype not in (torch.float16, torch.bfloat16):
        return f"{dtype} has no kernel"
    if size % 8 or size > 256:
        return f"heads of size {size} have no kernel"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "the device is older than compute capability 8.0"
    return missing_varlen()


def missing_varlen() -> str:
    """Why this torch has no varlen attention as it is used here; empty when it has."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return f"torch {torch.__version__} has no varlen_attn"
    wanted = {"scale", "window_size", "num_splits"} - set(inspect.signature(varlen_attn).parameters)
    return f"varlen_attn of torch {torch.__version__} has no {', '.join(sorted(wanted))}" if wanted else ""


class CudaNetwork(Network):
    """An encoder in float16 or bfloat16 on a CUDA device."""

    def __init__(self, weights: EncoderWeights, device: torch.device, dtype: torch.dtype) -> None:
        self.hidden_size = weights.hidden_size
        self.position_limit = weights.position_limit
        self.device = device
        self.bounds = BatchBounds(CUDA_BATCH_TOKENS, rows=8192)
        self.lanes = LANES
        self.tuning: list[str] = []
        """What was tried to be faster, and what came of it, for people to read."""
        self._skipped_id = weights.positions_skip
        shape = LayerShape.of(weights)
        self._layers = [TensorLayer(layer, shape, device, dtype) for layer in weights.layers]
        self._states = FlatStates(weights, self._layers, device, dtype)
        self._vocabulary = weights.words.shape[0]
        self._recorded: list[_Recorded] = []
        self._recording = threading.Lock()
        torch.cuda.synchronize(device)

    def enter_lane(self) -> None:
        """See `Network.enter_lane`."""
        torch.cuda.set_device(self.device)
        torch.cuda.set_stream(torch.cuda.Stream(self.device))

    @torch.inference_mode()
    def hidden(self, batch: FlatBatch) -> Tensor:
        """See `Network.hidden`."""
        tokens, texts = len(batch.ids), len(batch.lengths)
        plain = batch.type_ids is None and (self._skipped_id is None or not (batch.ids == self._skipped_id).any())
        for recorded in self._recorded if plain else ():
            if tokens <= recorded.tokens and texts <= recorded.texts:
                with self._recording:
                    return recorded.replay(batch)
        return self._computed(batch)

    def _computed(self, batch: FlatBatch) -> Tensor:
        inputs = flat_inputs(batch, self._skipped_id, self.device)
        return self._states(inputs, VarlenAttention(sent(batch.starts, self.device), max(batch.lengths)))

    @torch.inference_mode()
    def tune(self) -> None:
        """Tries compiled layers and recorded small batches, and keeps each where it is right and faster."""
        self._try("compiled layers", self._compile, self._uncompile, self._sample(8192, 128))
        self._try("recorded small batches", self._record, self._recorded.clear, self._sample(12, 12))

    def _try(self, what: str, take: Callable[[], None], undo: Callable[[], None], sample: FlatBatch) -> None:
        before, wanted = self._seconds(sample), self.hidden(sample).float()
        try:
            take()
            difference = float((self.hidden(sample).float() - wanted).abs().max())
            after = self._seconds(sample)
        except Exception as error:
            undo()
            self.tuning.append(f"{what} failed: {one_line(error)}")
            return
        if difference > _TOLERANCE * float(wanted.abs().max()):
            undo()
            self.tuning.append(f"{what} refused, they differ by {difference:.3g}")
        elif after >= before:
            undo()
            self.tuning.append(f"{what} not faster")
        else:
            self.tuning.append(f"{what} {before / after:.2f} x")

    def _seconds(self, sample: FlatBatch) -> float:
        times = []
        for _ in range(12):
            torch.cuda.synchronize(self.device)
            begun = time.perf_counter()
            self.hidden(sample)
            torch.cuda.synchronize(self.device)
            times.append(time.perf_counter() - begun)
        # The first ones compile and warm caches.
        return statistics.median(times[4:])

    def _sample(self, tokens: int, length: int) -> FlatBatch:
        ids = np.random.default_rng(1).integers(0, self._vocabulary, size=tokens).astype(np.int32)
        if self._skipped_id is not None:
            ids[ids == self._skipped_id] += 1
        return FlatBatch(ids, [length] * (tokens // length))

    def _compile(self) -> None:
        # torch.compile's own return type says nothing.
        compiled: Any = torch.compile(finish_layer, dynamic=True)
        for layer in self._layers:
            layer.finish_with = compiled

    def _uncompile(self) -> None:
        for layer in self._layers:
            layer.finish_with = finish_layer

    def _record(self) -> None:
        for tokens, texts in RECORDED:
            longest = min(tokens, self.position_limit or tokens)
            self._recorded.append(_Recorded(self._states, tokens, texts, longest, self.device))


class _Recorded:
    """A CUDA graph of the network for at most so many tokens and texts: one launch in place of some hundred.

    Texts that are not there have length 0, and what lies behind the last text is computed and never read.
    """

    def __init__(self, states: FlatStates, tokens: int, texts: int, longest: int, device: torch.device) -> None:
        self.tokens, self.texts = tokens, texts
        self._device = device
        self._ids = torch.zeros(tokens, dtype=torch.int32, device=device)
        self._places = torch.zeros(tokens, dtype=torch.int64, device=device)
        self._starts = torch.zeros(texts + 1, dtype=torch.int32, device=device)
        self._starts[1:] = min(tokens, longest)
        inputs = FlatInputs(self._ids, self._places, self._places, None, None)
        attend = VarlenAttention(self._starts, longest)
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            # Libraries set themselves up at their first calls, which cannot be recorded.
            for _ in range(3):
                states(inputs, attend)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._hidden = states(inputs, attend)
        self._free = torch.cuda.Event()
        self._free.record(torch.cuda.current_stream(device))

    def replay(self, batch: FlatBatch) -> Tensor:
        """One at a time: the tensors of the graph are shared by all lanes."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(self._free)
        tokens = len(batch.ids)
        places = np.arange(tokens, dtype=np.int64) - np.repeat(batch.starts[:-1], batch.lengths)
        starts = np.full(self.texts + 1, tokens, dtype=np.int32)
        starts[: len(batch.starts)] = batch.starts
        self._ids[:tokens].copy_(sent(batch.ids, self._device), non_blocking=True)
        self._places[:tokens].copy_(sent(places, self._device), non_blocking=True)
        self._starts.copy_(sent(starts, self._device), non_blocking=True)
        self._graph.replay()
        hidden = self._hidden[:tokens].clone()
        self._free.record(stream)
        return hidden
