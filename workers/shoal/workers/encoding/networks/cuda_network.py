"""The unpadded network on CUDA.

Two inference threads have a stream each, so that one copies while the other computes. Layers are compiled, and small
batches recorded as CUDA graphs, where that turns out faster on the device.
"""

from __future__ import annotations

import inspect
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.networks.attention import VarlenAttention
from shoal.workers.encoding.networks.cuda_graphs import RECORDED, RecordedBatches
from shoal.workers.encoding.networks.encoder_weights import EncoderWeights
from shoal.workers.encoding.networks.network import Network, UnpaddedBatch, check_ids, to_device
from shoal.workers.encoding.networks.unpadded_layer import LayerShape, TensorLayer, begin_layer, finish_layer
from shoal.workers.encoding.networks.unpadded_network import UnpaddedEncoder, unpadded_inputs
from shoal.workers.runtime import typed_error_line

# A GPU needs many tokens to be busy.
CUDA_BATCH_TOKENS = 65_536
INFERENCE_THREADS = 2
# How much a compiled layer or a recorded batch may differ from the plain computation, as a share of the largest value.
_TOLERANCE = 0.05


def varlen_reason(weights: EncoderWeights, device: torch.device, dtype: torch.dtype) -> str:
    """Why the unpadded network cannot compute this encoder on a CUDA device; empty if it can."""
    size = weights.hidden_size // weights.heads
    if dtype not in (torch.float16, torch.bfloat16):
        return f"there is no kernel for {dtype}"
    if size % 8 or size > 256:
        return f"there is no kernel for heads of size {size}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "the device is older than compute capability 8.0"
    return missing_varlen()


def missing_varlen() -> str:
    """Why this version of torch lacks the varlen attention that is needed; empty if it has it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return f"torch {torch.__version__} has no varlen_attn"
    wanted = {"scale", "window_size"} - set(inspect.signature(varlen_attn).parameters)
    return f"varlen_attn of torch {torch.__version__} has no {', '.join(sorted(wanted))}" if wanted else ""


class CudaNetwork(Network):
    """An encoder in float16 or bfloat16 on a CUDA device."""

    def __init__(self, weights: EncoderWeights, device: torch.device, dtype: torch.dtype) -> None:
        self.hidden_size = weights.hidden_size
        self.position_limit = weights.position_limit
        self.stated_positions = weights.stated_positions
        self.device = device
        self.bounds = BatchBounds(CUDA_BATCH_TOKENS, rows=8192)
        self.inference_threads = INFERENCE_THREADS
        self.tuning: list[str] = []
        """The optimisations that `tune` tried, with their results, for people to read."""
        self._skipped_id = weights.positions_skip
        shape = LayerShape.of(weights)
        self._layers = [TensorLayer(layer, shape, device, dtype) for layer in weights.layers]
        self._states = UnpaddedEncoder(weights, self._layers, device, dtype)
        self._vocabulary = weights.words.shape[0]
        self._recorded: RecordedBatches | None = None
        torch.cuda.synchronize(device)

    def init_inference_thread(self) -> None:
        """See `Network.init_inference_thread`."""
        # This also sets the thread's current device.
        torch.cuda.set_stream(torch.cuda.Stream(self.device))

    @torch.inference_mode()
    def hidden(self, batch: UnpaddedBatch) -> Tensor:
        """See `Network.hidden`."""
        check_ids(batch, self._vocabulary)
        plain = batch.type_ids is None and (self._skipped_id is None or not (batch.ids == self._skipped_id).any())
        if plain and self._recorded is not None and (hidden := self._recorded.hidden(batch)) is not None:
            return hidden
        inputs = unpadded_inputs(batch, self._skipped_id, self.device)
        return self._states(inputs, VarlenAttention(to_device(batch.starts, self.device), max(batch.lengths)))

    @torch.inference_mode()
    def tune(self) -> None:
        """Tries compiled layers and recorded small batches, and keeps each if it is correct and faster."""
        self._try("compiled layers", self._compile, self._uncompile, [self._sample(64, 128)])
        each = [self._sample(texts, tokens * 3 // (4 * texts)) for tokens, texts in RECORDED]
        self._try("recorded small batches", self._record, self._forget, [self._sample(1, 12), *each])

    def _try(self, what: str, take: Callable[[], None], undo: Callable[[], None], samples: Sequence[UnpaddedBatch]) -> None:
        """Compares the states of all samples and the time of the first, before and after `take`."""
        before, wanted = self._seconds(samples[0]), [self.hidden(sample).float() for sample in samples]
        try:
            take()
            share = max(_share(self.hidden(one).float(), right) for one, right in zip(samples, wanted, strict=True))
            after = self._seconds(samples[0])
        except Exception as error:
            undo()
            self.tuning.append(f"{what} failed: {typed_error_line(error)}")
            return
        if share > _TOLERANCE:
            undo()
            self.tuning.append(f"{what} refused, wrong by {share:.3g} of the largest value")
        elif after >= before:
            undo()
            self.tuning.append(f"{what} not faster")
        else:
            self.tuning.append(f"{what} {before / after:.2f} x")

    def _seconds(self, sample: UnpaddedBatch) -> float:
        times = []
        for _ in range(12):
            torch.cuda.synchronize(self.device)
            began = time.perf_counter()
            self.hidden(sample)
            torch.cuda.synchronize(self.device)
            times.append(time.perf_counter() - began)
        # The first calls compile and warm caches.
        return statistics.median(times[4:])

    def _sample(self, texts: int, length: int) -> UnpaddedBatch:
        ids = np.random.default_rng(1).integers(0, self._vocabulary, size=texts * length).astype(np.int32)
        if self._skipped_id is not None:
            ids[ids == self._skipped_id] = (self._skipped_id + 1) % self._vocabulary
        return UnpaddedBatch(ids, [length] * texts)

    def _compile(self) -> None:
        # torch.compile has no useful return type.
        begin: Any = torch.compile(begin_layer, dynamic=True)
        finish: Any = torch.compile(finish_layer, dynamic=True)
        for layer in self._layers:
            # Without rotary positions there is only a product, and nothing to fuse.
            layer.begin_with = begin_layer if layer.rotary_base is None else begin
            layer.finish_with = finish

    def _uncompile(self) -> None:
        for layer in self._layers:
            layer.begin_with, layer.finish_with = begin_layer, finish_layer

    def _record(self) -> None:
        most = RECORDED[-1][0] if self.position_limit is None else self.position_limit
        self._recorded = RecordedBatches(self._states, most, self.device)

    def _forget(self) -> None:
        self._recorded = None


def _share(found: Tensor, wanted: Tensor) -> float:
    """The largest difference as a share of the largest value; infinite if any value is NaN."""
    share = float((found - wanted).abs().max() / wanted.abs().max())
    return share if math.isfinite(share) else math.inf
