"""Runs any architecture of transformers; texts are padded to the longest of their batch."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.networks.network import Network, UnpaddedBatch, check_ids
from shoal.workers.encoding.networks.pretrained import position_limit, stated_positions

# Tokens per forward pass, with padding: on a CPU more would not fit the cache, a GPU needs many to be busy.
CPU_BATCH_TOKENS = 1024
CPU_MIN_TOKENS = 128
GPU_BATCH_TOKENS = 32_768


class PaddedNetwork(Network):
    """A model of transformers in evaluation mode."""

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype, threads: int) -> None:
        """Moves a loaded model to `device` and `dtype`. On a CPU each of `threads` threads computes its own batch."""
        self._model = model.to(device, dtype)
        self._takes_type_ids = "token_type_ids" in inspect.signature(model.forward).parameters
        self.device = device
        self.hidden_size = int(model.config.hidden_size)
        self.position_limit = position_limit(model)
        self.stated_positions = stated_positions(model)
        self._vocabulary = int(model.get_input_embeddings().num_embeddings)
        self.bounds = BatchBounds(GPU_BATCH_TOKENS, padded=True)
        if device.type == "cpu":
            self.bounds = BatchBounds(CPU_BATCH_TOKENS, padded=True, min_tokens=CPU_MIN_TOKENS)
        self.inference_threads = threads if device.type == "cpu" else 1

    def init_inference_thread(self) -> None:
        """See `Network.init_inference_thread`."""
        if self.device.type == "cpu":
            torch.set_num_threads(1)

    def hidden(self, batch: UnpaddedBatch) -> Tensor:
        """See `Network.hidden`."""
        check_ids(batch, self._vocabulary)
        rows, longest = len(batch.lengths), max(batch.lengths)
        mask = np.arange(longest) < np.asarray(batch.lengths)[:, None]
        # Masked tokens may have any id. Padding is always on the right, whatever the tokenizer prefers: positions then
        # start with the text in every architecture.
        inputs = {"input_ids": np.zeros((rows, longest), dtype=np.int64), "attention_mask": mask.astype(np.int64)}
        inputs["input_ids"][mask] = batch.ids
        if self._takes_type_ids and batch.type_ids is not None:
            inputs["token_type_ids"] = np.zeros_like(inputs["input_ids"])
            inputs["token_type_ids"][mask] = batch.type_ids
        with torch.inference_mode():
            tensors = {key: torch.from_numpy(value).to(self.device) for key, value in inputs.items()}
            padded = self._model(**tensors).last_hidden_state
            return padded[tensors["attention_mask"].bool()]
