"""Loads a folder of Hugging Face safetensors with transformers, which maps the old names of weights."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig

from shoal.workers.encoding.json_files import whole
from shoal.workers.encoding.model import ModelError
from shoal.workers.runtime import typed_error_line

# The names of position tables in transformers.
_POSITION_TABLES = ("position_embeddings", "position_embedding", "embed_positions", "wpe")


def read_config(folder: Path) -> Any:
    """The transformers config in `folder`. Fields that must be integers may be written as 512.0, which transformers refuses.

    Raises whatever transformers raises for a config.json that is missing or malformed.
    """
    stated, _ = PreTrainedConfig.get_config_dict(folder, local_files_only=True)
    kind = CONFIG_MAPPING[stated["model_type"]] if stated.get("model_type") in CONFIG_MAPPING else None
    if kind is not None:
        integers = {one.name for one in fields(kind) if _takes_integers_only(one.type)}
        changed = {key: whole(stated[key]) for key in integers & stated.keys() if isinstance(stated[key], float)}
        if changed:
            return kind.from_dict({**stated, **changed}, name_or_path=str(folder))
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _takes_integers_only(hint: Any) -> bool:
    # Some hints are types, others are their source text.
    named = set(re.findall(r"\w+", str(hint)))
    return "int" in named and "float" not in named


def load_pretrained(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """The transformers model in `folder` on the CPU, in evaluation mode, with weights of `dtype`.

    Raises ModelError when files are missing or malformed, when a weight is missing, and for encoder-decoder models.
    """
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        config = read_config(folder)
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(name, f"{config.model_type} is an encoder-decoder model, which is not supported")
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
    # transformers fills missing weights with random numbers. Only the pooler may be missing, which is not used.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelError(name, f"the weights lack {len(missing)} tensors, the first is {missing[0]}")
    return model.eval()


def stated_positions(model: Any) -> int | None:
    """The number of positions in the model's config; None if it states none (XLNet's is -1)."""
    stated = getattr(model.config, "max_position_embeddings", None)
    return stated if isinstance(stated, int) and stated > 0 else None


def position_limit(model: Any) -> int | None:
    """The most tokens for which the model's position table has rows; None for a model without a table (rotary, relative)."""
    limits = [
        _usable_rows(module, stated_positions(model))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Embedding) and name.rpartition(".")[2] in _POSITION_TABLES
    ]
    return min(limits, default=None)


def _usable_rows(table: torch.nn.Embedding, stated: int | None) -> int:
    # RoBERTa and its descendants start counting after the padding index.
    if table.padding_idx is not None:
        return table.num_embeddings - table.padding_idx - 1
    # Other tables with rows before the first position have more rows than the config states (OPT, Nystromformer).
    return table.num_embeddings if stated is None else min(table.num_embeddings, stated)
