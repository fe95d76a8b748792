"""Any architecture that transformers knows, as a network: texts are padded to the longest of their batch."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModel

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.model import ModelError, one_line
from shoal.workers.encoding.network import FlatBatch, Network

# What a forward pass holds, padded: on a CPU more only leaves its cache, a GPU needs much to be busy.
CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 32_768


class PaddedNetwork(Network):
    """A model of transformers in evaluation mode."""

    def __init__(self, folder: Path, name: str, device: torch.device, dtype: torch.dtype, lanes: int) -> None:
        """Reads the weights in `folder`; raises ModelError when they are missing, malformed or not supported."""
        self._network = _load(folder, name, dtype).to(device)
        self._takes_type_ids = "token_type_ids" in inspect.signature(self._network.forward).parameters
        self.device = device
        self.hidden_size = int(self._network.config.hidden_size)
        self.position_limit = _position_limit(self._network)
        self.bounds = BatchBounds(CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS, padded=True)
        self.lanes = lanes

    def hidden(self, batch: FlatBatch) -> Tensor:
        """See `Network.hidden`."""
        rows, longest = len(batch.lengths), max(batch.lengths)
        mask = np.arange(longest) < np.asarray(batch.lengths)[:, None]
        # Masked places may hold any id. Padding goes to the right whatever the tokenizer prefers: positions then start at
        # the text in every architecture.
        inputs = {"input_ids": np.zeros((rows, longest), dtype=np.int64), "attention_mask": mask.astype(np.int64)}
        inputs["input_ids"][mask] = batch.ids
        if self._takes_type_ids and batch.type_ids is not None:
            inputs["token_type_ids"] = np.zeros_like(inputs["input_ids"])
            inputs["token_type_ids"][mask] = batch.type_ids
        with torch.inference_mode():
            tensors = {key: torch.from_numpy(value).to(self.device) for key, value in inputs.items()}
            padded = self._network(**tensors).last_hidden_state
            return padded[tensors["attention_mask"].bool()]


def read_config(folder: Path, name: str) -> Any:
    """The transformers config of a model folder; raises ModelError when there is none to be had."""
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelError(name, f"the config cannot be read: {one_line(error)}") from error


def _load(folder: Path, name: str, dtype: torch.dtype) -> Any:
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    config = read_config(folder, name)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(name, f"{config.model_type} is an encoder with a decoder, which is not supported")
    try:
        network, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(name, f"the weights cannot be loaded: {one_line(error)}") from error
    # Absent weights are filled with random numbers; only the pooler, which is not used here, may be.
    absent = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if absent:
        raise ModelError(name, f"the weights lack {len(absent)} tensors, the first is {absent[0]}")
    return network.eval()


def _position_limit(network: Any) -> int | None:
    table = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, torch.nn.Embedding):
        return None
    # RoBERTa and its kin start counting after the padding index.
    offset = 0 if table.padding_idx is None else table.padding_idx + 1
    return table.num_embeddings - offset
