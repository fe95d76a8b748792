"""Loads a folder of Hugging Face safetensors through transformers, which knows the names that weights had over the years."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel

from shoal.workers.encoding.model import ModelError
from shoal.workers.runtime import typed_error_line


def load_pretrained(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """The transformers model in `folder` on the CPU, in evaluation mode, its weights in `dtype`.

    Raises ModelError when files are missing or malformed, when a weight is absent, and for models with a decoder beside
    their encoder.
    """
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(name, f"{config.model_type} is an encoder with a decoder, which is not supported")
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(name, f"the weights cannot be loaded: {typed_error_line(error)}") from error
    # Absent weights are filled with random numbers; only the pooler, which is not used here, may be.
    absent = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if absent:
        raise ModelError(name, f"the weights lack {len(absent)} tensors, the first is {absent[0]}")
    return model.eval()


def position_limit(model: Any) -> int | None:
    """How many positions a text may have: by the model's table of them, else by its config; None when neither tells."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, torch.nn.Embedding):
        stated = getattr(model.config, "max_position_embeddings", None)
        return stated if isinstance(stated, int) and stated > 0 else None
    # RoBERTa and its kin start counting after the padding index.
    offset = 0 if table.padding_idx is None else table.padding_idx + 1
    return table.num_embeddings - offset
