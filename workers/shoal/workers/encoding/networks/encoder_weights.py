"""The weights of BERT-family encoders under one set of names.

This module knows how the architectures differ. The unpadded network knows how to compute them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shoal.workers.encoding.networks.pretrained import position_limit, stated_positions


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm over the hidden size."""

    weight: Tensor
    bias: Tensor | None
    eps: float


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer: weight (out, in), bias (out,)."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. Each norm is applied before the block it is named for if the encoder is `pre_norm`, else after it."""

    attention_norm: Norm | None
    qkv: Dense
    """Queries, keys and values, stacked: (3 * heads * head_size, hidden)."""
    out: Dense
    mlp_norm: Norm
    up: Dense
    """If the encoder is `gated`, two halves, stacked: the one with the activation, then its factor."""
    down: Dense
    window: int | None
    """Tokens on either side that a token attends to; None for all."""
    rotary_base: float | None


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """A whole encoder."""

    words: Tensor
    positions: Tensor | None
    """(positions, hidden); the first row is that of a text's first token."""
    positions_skip: int | None
    """The token id without a position of its own (RoBERTa's padding); it takes the row before the first."""
    types: Tensor | None
    embedding_norm: Norm
    layers: tuple[LayerWeights, ...]
    final_norm: Norm | None
    heads: int
    activation: str
    gated: bool
    pre_norm: bool
    position_limit: int | None
    stated_positions: int | None

    @property
    def hidden_size(self) -> int:
        """Length of a hidden state."""
        return self.words.shape[1]


def encoder_weights(model: Any) -> EncoderWeights | None:
    """The weights of a loaded transformers model, not copied where possible; None for an unknown architecture."""
    read = _ARCHITECTURES.get(model.config.model_type)
    return read(model) if read is not None and not getattr(model.config, "is_decoder", False) else None


class _State:
    """Reads layers from a state dict."""

    def __init__(self, model: Any) -> None:
        self._tensors: Mapping[str, Tensor] = model.state_dict()

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    def maybe(self, name: str) -> Tensor | None:
        return self._tensors.get(name)

    def dense(self, *names: str) -> Dense:
        """The layers of these names, stacked into one."""
        weights = [self.tensor(f"{name}.weight") for name in names]
        biases = [bias for name in names if (bias := self.maybe(f"{name}.bias")) is not None]
        if len(names) == 1:
            return Dense(weights[0], biases[0] if biases else None)
        return Dense(torch.cat(weights), torch.cat(biases) if biases else None)

    def norm(self, name: str, eps: float) -> Norm:
        return Norm(self.tensor(f"{name}.weight"), self.maybe(f"{name}.bias"), eps)


def _bert(model: Any) -> EncoderWeights | None:
    """BERT and MiniLM; RoBERTa, XLM-R and CamemBERT, whose positions start after the padding index."""
    config, state = model.config, _State(model)
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return None
    eps = config.layer_norm_eps
    padding = model.embeddings.position_embeddings.padding_idx
    layers = []
    for index in range(config.num_hidden_layers):
        at = f"encoder.layer.{index}"
        layers.append(
            LayerWeights(
                attention_norm=state.norm(f"{at}.attention.output.LayerNorm", eps),
                qkv=state.dense(*(f"{at}.attention.self.{part}" for part in ("query", "key", "value"))),
                out=state.dense(f"{at}.attention.output.dense"),
                mlp_norm=state.norm(f"{at}.output.LayerNorm", eps),
                up=state.dense(f"{at}.intermediate.dense"),
                down=state.dense(f"{at}.output.dense"),
                window=None,
                rotary_base=None,
            )
        )
    positions = state.tensor("embeddings.position_embeddings.weight")
    return EncoderWeights(
        words=state.tensor("embeddings.word_embeddings.weight"),
        positions=positions if padding is None else positions[padding + 1 :],
        positions_skip=padding,
        types=state.tensor("embeddings.token_type_embeddings.weight"),
        embedding_norm=state.norm("embeddings.LayerNorm", eps),
        layers=tuple(layers),
        final_norm=None,
        heads=config.num_attention_heads,
        activation=config.hidden_act,
        gated=False,
        pre_norm=False,
        position_limit=position_limit(model),
        stated_positions=stated_positions(model),
    )


def _distilbert(model: Any) -> EncoderWeights:
    """DistilBERT; sinusoidal positions come as a table like learned ones."""
    config, state = model.config, _State(model)
    eps = 1e-12
    layers = []
    for index in range(config.n_layers):
        at = f"transformer.layer.{index}"
        layers.append(
            LayerWeights(
                attention_norm=state.norm(f"{at}.sa_layer_norm", eps),
                qkv=state.dense(*(f"{at}.attention.{part}_lin" for part in "qkv")),
                out=state.dense(f"{at}.attention.out_lin"),
                mlp_norm=state.norm(f"{at}.output_layer_norm", eps),
                up=state.dense(f"{at}.ffn.lin1"),
                down=state.dense(f"{at}.ffn.lin2"),
                window=None,
                rotary_base=None,
            )
        )
    return EncoderWeights(
        words=state.tensor("embeddings.word_embeddings.weight"),
        positions=state.tensor("embeddings.position_embeddings.weight"),
        positions_skip=None,
        types=None,
        embedding_norm=state.norm("embeddings.LayerNorm", eps),
        layers=tuple(layers),
        final_norm=None,
        heads=config.n_heads,
        activation=config.activation,
        gated=False,
        pre_norm=False,
        position_limit=position_limit(model),
        stated_positions=stated_positions(model),
    )


def _modernbert(model: Any) -> EncoderWeights | None:
    """ModernBERT: rotary positions, a window in most layers, norms before attention and the gated MLP."""
    config, state = model.config, _State(model)
    if any(rope["rope_type"] != "default" for rope in config.rope_parameters.values()):
        return None
    eps = config.norm_eps
    layers = []
    for index, kind in enumerate(config.layer_types):
        at = f"layers.{index}"
        layers.append(
            LayerWeights(
                # The embeddings were just normalised.
                attention_norm=state.norm(f"{at}.attn_norm", eps) if index else None,
                qkv=state.dense(f"{at}.attn.Wqkv"),
                out=state.dense(f"{at}.attn.Wo"),
                mlp_norm=state.norm(f"{at}.mlp_norm", eps),
                up=state.dense(f"{at}.mlp.Wi"),
                down=state.dense(f"{at}.mlp.Wo"),
                window=config.sliding_window if kind == "sliding_attention" else None,
                rotary_base=float(config.rope_parameters[kind]["rope_theta"]),
            )
        )
    return EncoderWeights(
        words=state.tensor("embeddings.tok_embeddings.weight"),
        positions=None,
        positions_skip=None,
        types=None,
        embedding_norm=state.norm("embeddings.norm", eps),
        layers=tuple(layers),
        final_norm=state.norm("final_norm", eps),
        heads=config.num_attention_heads,
        activation=config.hidden_activation,
        gated=True,
        pre_norm=True,
        position_limit=None,
        stated_positions=stated_positions(model),
    )


def _nomic(model: Any) -> EncoderWeights | None:
    """NomicBERT: BERT with rotary positions and a gated MLP."""
    config, state = model.config, _State(model)
    if (
        config.rope_parameters["rope_type"] != "default"
        or config.head_dim * config.num_attention_heads != config.hidden_size
    ):
        return None
    eps = config.layer_norm_eps
    layers = []
    for index in range(config.num_hidden_layers):
        at = f"layers.{index}"
        layers.append(
            LayerWeights(
                attention_norm=state.norm(f"{at}.post_attention_layernorm", eps),
                qkv=state.dense(*(f"{at}.self_attn.{part}_proj" for part in "qkv")),
                out=state.dense(f"{at}.self_attn.o_proj"),
                mlp_norm=state.norm(f"{at}.post_mlp_layernorm", eps),
                up=state.dense(f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"),
                down=state.dense(f"{at}.mlp.down_proj"),
                window=None,
                rotary_base=float(config.rope_parameters["rope_theta"]),
            )
        )
    return EncoderWeights(
        words=state.tensor("embeddings.word_embeddings.weight"),
        positions=None,
        positions_skip=None,
        types=state.tensor("embeddings.token_type_embeddings.weight"),
        embedding_norm=state.norm("embeddings.LayerNorm", eps),
        layers=tuple(layers),
        final_norm=None,
        heads=config.num_attention_heads,
        activation=config.hidden_act,
        gated=True,
        pre_norm=False,
        position_limit=None,
        stated_positions=stated_positions(model),
    )


_ARCHITECTURES = {
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "camembert": _bert,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "nomic_bert": _nomic,
}
