"""Tiny models with random weights, in the folders and files of real ones: one writer for each family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shoal.workers.encoding.word_vectors.folder_writing import save_word_folder
from shoal.workers.encoding.word_vectors.word_folder import Pooling, WordFolderConfig
from shoal.workers.encoding.word_vectors.word_table import WordTable
from support.models.tokenizer_files import WORDS, save_byte_pieces, save_word_pieces

HIDDEN = 32
MAX_TOKENS = 40

_SIZES: dict[str, Any] = {"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_NORMALIZE = {"type": "sentence_transformers.models.Normalize", "path": "3_Normalize"}


def write_sentence_files(
    folder: Path,
    pooling: str,
    normalize: bool,
    prompts: dict[str, str] | None = None,
    include_prompt: bool = True,
    between: tuple[dict[str, str], ...] = (),
) -> None:
    """The files of sentence-transformers in a folder with a transformer; `between` are modules before normalising."""
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    modules += [*between, *([_NORMALIZE] if normalize else [])]
    # Version 6 insists that each module has a folder.
    (folder / "3_Normalize").mkdir()
    (folder / "1_Pooling").mkdir()
    listed = [{"idx": position, "name": str(position), **module} for position, module in enumerate(modules)]
    pooled = {"embedding_dimension": HIDDEN, "pooling_mode": pooling, "include_prompt": include_prompt}
    for name, value in {
        "modules.json": listed,
        "1_Pooling/config.json": pooled,
        "3_Normalize/config.json": {},
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS},
        "config_sentence_transformers.json": {"prompts": prompts or {}},
    }.items():
        (folder / name).write_text(json.dumps(value))


def _write_network(folder: Path, network: Any, kept: str = "") -> None:
    """With new random weights, except those that are `kept`."""
    import torch

    torch.manual_seed(7)
    # The usual initial weights are so small that all texts come out nearly alike, which would hide a mistake.
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if kept and kept in name:
                continue
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    network.save_pretrained(str(folder))


def bert_folder(
    folder: Path, prompts: dict[str, str] | None = None, pooling: str = "cls", positions: int = 64, **files: Any
) -> Path:
    """Learned positions, cls pooling, normalised on request."""
    from transformers import BertConfig, BertModel

    folder.mkdir()
    vocabulary = save_word_pieces(folder)
    config = BertConfig(vocab_size=vocabulary, max_position_embeddings=positions, **_SIZES)
    _write_network(folder, BertModel(config))
    write_sentence_files(folder, pooling, **{"normalize": False, "prompts": prompts, **files})
    return folder


def bert_mean_folder(folder: Path) -> Path:
    """Mean of all tokens, normalised."""
    return bert_folder(folder, pooling="mean", normalize=True)


def instructor_folder(folder: Path) -> Path:
    """Prompts by role whose tokens are left out of the mean."""
    prompts = {"query": "a moon of water: ", "document": "fish - "}
    return bert_folder(folder, prompts, "mean", normalize=True, include_prompt=False)


def dense_folder(folder: Path, activation: str = "torch.nn.modules.activation.Tanh", outputs: int = 24) -> Path:
    """Mean, a dense layer, and normalised."""
    import torch
    from safetensors.torch import save_file

    dense = {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}
    bert_folder(folder, pooling="mean", normalize=True, between=(dense,))
    (folder / "2_Dense").mkdir()
    config = {"in_features": HIDDEN, "out_features": outputs, "bias": True, "activation_function": activation}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    torch.manual_seed(11)
    weights = {"linear.weight": torch.randn(outputs, HIDDEN) * 0.2, "linear.bias": torch.randn(outputs) * 0.1}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    return folder


def roberta_folder(folder: Path) -> Path:
    """Positions that count from the padding index, no sentence-transformers files: mean pooling, normalised."""
    from transformers import RobertaConfig, RobertaModel

    folder.mkdir()
    vocabulary = save_byte_pieces(folder, "<s> $A </s>")
    config = RobertaConfig(
        vocab_size=vocabulary, max_position_embeddings=MAX_TOKENS + 2, type_vocab_size=1, pad_token_id=1, **_SIZES
    )
    _write_network(folder, RobertaModel(config))
    return folder


def xlm_roberta_folder(folder: Path) -> Path:
    """The dense vectors of BGE-M3: cls pooling, normalised, with files of its sparse and multi-vector heads."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder.mkdir()
    vocabulary = save_byte_pieces(folder, "<s> $A </s>")
    config = XLMRobertaConfig(
        vocab_size=vocabulary, max_position_embeddings=MAX_TOKENS + 2, type_vocab_size=1, pad_token_id=1, **_SIZES
    )
    _write_network(folder, XLMRobertaModel(config))
    write_sentence_files(folder, "cls", normalize=True)
    for head in ("sparse_linear.pt", "colbert_linear.pt"):
        (folder / head).write_bytes(b"not read")
    return folder


def distilbert_folder(folder: Path, sinusoidal: bool = False) -> Path:
    """No token types; positions learned or sinusoidal. Mean pooling."""
    from transformers import DistilBertConfig, DistilBertModel

    folder.mkdir()
    vocabulary = save_word_pieces(folder)
    config = DistilBertConfig(
        vocab_size=vocabulary,
        max_position_embeddings=64,
        sinusoidal_pos_embds=sinusoidal,
        dim=HIDDEN,
        hidden_dim=64,
        n_layers=2,
        n_heads=4,
    )
    _write_network(folder, DistilBertModel(config), kept="position_embeddings" if sinusoidal else "")
    write_sentence_files(folder, "mean", normalize=False)
    return folder


def sinusoidal_folder(folder: Path) -> Path:
    """DistilBERT with sinusoidal positions."""
    return distilbert_folder(folder, sinusoidal=True)


def modernbert_folder(folder: Path) -> Path:
    """Rotary positions, a window of four tokens to either side in half of the layers, gated MLP, no biases. Mean pooling."""
    from transformers import ModernBertConfig, ModernBertModel

    folder.mkdir()
    vocabulary = save_word_pieces(folder)
    special = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    sizes = {**_SIZES, "num_hidden_layers": 4}
    layers = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    config = ModernBertConfig(
        vocab_size=vocabulary, max_position_embeddings=64, local_attention=8, layer_types=layers, **special, **sizes
    )
    _write_network(folder, ModernBertModel(config))
    write_sentence_files(folder, "mean", normalize=True)
    return folder


def nomic_folder(folder: Path) -> Path:
    """NomicBERT: rotary positions and a gated MLP, prompts of several uses."""
    from transformers import NomicBertConfig, NomicBertModel

    folder.mkdir()
    vocabulary = save_word_pieces(folder)
    config = NomicBertConfig(vocab_size=vocabulary, max_position_embeddings=64, head_dim=8, pad_token_id=0, **_SIZES)
    _write_network(folder, NomicBertModel(config))
    prompts = {"query": "search_query: ", "document": "search_document: ", "clustering": "clustering: "}
    write_sentence_files(folder, "mean", normalize=True, prompts=prompts)
    return folder


def mpnet_folder(folder: Path) -> Path:
    """Relative positions as a bias of attention, which only transformers computes. Mean pooling, normalised."""
    from transformers import MPNetConfig, MPNetModel

    folder.mkdir()
    vocabulary = save_byte_pieces(folder, "<s> $A </s>")
    _write_network(
        folder, MPNetModel(MPNetConfig(vocab_size=vocabulary, max_position_embeddings=64, pad_token_id=1, **_SIZES))
    )
    write_sentence_files(folder, "mean", normalize=True)
    return folder


def albert_folder(folder: Path) -> Path:
    """Layers that share weights, and embeddings narrower than hidden states."""
    from transformers import AlbertConfig, AlbertModel

    folder.mkdir()
    vocabulary = save_word_pieces(folder)
    config = AlbertConfig(vocab_size=vocabulary, embedding_size=16, max_position_embeddings=64, **_SIZES)
    _write_network(folder, AlbertModel(config))
    write_sentence_files(folder, "max", normalize=False)
    return folder


def electra_folder(folder: Path) -> Path:
    """Embeddings narrower than hidden states; pooled by position-weighted mean."""
    from transformers import ElectraConfig, ElectraModel

    folder.mkdir()
    vocabulary = save_word_pieces(folder)
    config = ElectraConfig(vocab_size=vocabulary, embedding_size=16, max_position_embeddings=64, **_SIZES)
    _write_network(folder, ElectraModel(config))
    write_sentence_files(folder, "weightedmean", normalize=False)
    return folder


def llama_folder(folder: Path) -> Path:
    """Rotary positions, causal attention, last-token pooling, no special tokens."""
    from transformers import LlamaConfig, LlamaModel

    folder.mkdir()
    vocabulary = save_byte_pieces(folder, "")
    _write_network(folder, LlamaModel(LlamaConfig(vocab_size=vocabulary, num_key_value_heads=2, pad_token_id=1, **_SIZES)))
    write_sentence_files(folder, "lasttoken", normalize=True)
    return folder


def gpt2_folder(folder: Path) -> Path:
    """Learned positions under other names than BERT's, causal attention, last-token pooling."""
    from transformers import GPT2Config, GPT2Model

    folder.mkdir()
    vocabulary = save_byte_pieces(folder, "")
    _write_network(folder, GPT2Model(GPT2Config(vocab_size=vocabulary, n_positions=64, n_embd=HIDDEN, n_layer=2, n_head=4)))
    write_sentence_files(folder, "lasttoken", normalize=True)
    return folder


def xlnet_folder(folder: Path) -> Path:
    """Relative positions without a number of them. Mean pooling."""
    from transformers import XLNetConfig, XLNetModel

    folder.mkdir()
    vocabulary = save_byte_pieces(folder, "")
    _write_network(folder, XLNetModel(XLNetConfig(vocab_size=vocabulary, d_model=HIDDEN, n_layer=2, n_head=4, d_inner=64)))
    write_sentence_files(folder, "mean", normalize=False)
    return folder


def qwen_folder(folder: Path, frame: str = "$A </s>", padding_side: str = "left") -> Path:
    """Qwen3-Embedding: fewer key than query heads, norms of queries and keys, an end token that is pooled, an instruction
    before queries, padding to the left."""
    from transformers import Qwen3Config, Qwen3Model

    folder.mkdir()
    vocabulary = save_byte_pieces(folder, frame, padding_side)
    config = Qwen3Config(
        vocab_size=vocabulary, num_key_value_heads=2, head_dim=16, max_position_embeddings=64, pad_token_id=1, **_SIZES
    )
    _write_network(folder, Qwen3Model(config))
    write_sentence_files(folder, "lasttoken", normalize=True, prompts={"query": "Find: ", "document": ""})
    return folder


def qwen_right_folder(folder: Path) -> Path:
    """The same with padding to the right and no end token."""
    return qwen_folder(folder, frame="", padding_side="right")


def static_folder(folder: Path) -> Path:
    """StaticEmbedding of sentence-transformers: unknown tokens count, and vectors are not normalised."""
    from safetensors.numpy import save_file

    folder.mkdir()
    vocabulary = save_word_pieces(folder)
    (folder / "tokenizer_config.json").unlink()
    table = np.random.default_rng(7).normal(size=(vocabulary, HIDDEN)).astype(np.float32)
    save_file({"embedding.weight": table}, folder / "model.safetensors")
    modules = [{"idx": 0, "name": "0", "type": "sentence_transformers.models.StaticEmbedding", "path": ""}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "a star: "}}))
    return folder


def model2vec_folder(folder: Path) -> Path:
    """The form of model2vec after quantising its vocabulary: int8 rows, a mapping and weights."""
    from safetensors.numpy import save_file

    folder.mkdir()
    vocabulary = save_word_pieces(folder)
    (folder / "tokenizer_config.json").unlink()
    random = np.random.default_rng(7)
    tensors = {
        "embeddings": random.integers(-120, 120, size=(vocabulary - 9, HIDDEN), dtype=np.int8),
        "mapping": random.integers(0, vocabulary - 9, size=vocabulary),
        "weights": random.uniform(0.2, 1.0, size=vocabulary).astype(np.float32),
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"normalize": True, "max_length": MAX_TOKENS}))
    kinds = {"StaticEmbedding": ".", "Normalize": "1_Normalize"}
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds.items()]
    listed = [{"idx": position, "name": str(position), **module} for position, module in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Normalize").mkdir()
    return folder


def word_table() -> dict[str, np.ndarray]:
    """A vector of HIDDEN dimensions for each of WORDS."""
    random = np.random.default_rng(7)
    return {word: random.normal(size=HIDDEN).astype(np.float32) for word in WORDS}


def glove_file(file: Path) -> Path:
    """Word vectors as text without a header."""
    lines = (f"{word} {' '.join(f'{value:.9g}' for value in vector)}\n" for word, vector in word_table().items())
    file.write_text("".join(lines))
    return file


def word2vec_file(file: Path) -> Path:
    """Word vectors in the binary form of word2vec."""
    rows = (word.encode() + b" " + vector.tobytes() + b"\n" for word, vector in word_table().items())
    file.write_bytes(f"{len(WORDS)} {HIDDEN}\n".encode() + b"".join(rows))
    return file


def trained_folder(folder: Path, pooling: Pooling = Pooling.MEAN) -> Path:
    """Word vectors as saved by a training of Shoal."""
    vectors, counts = np.stack(list(word_table().values())), np.arange(len(WORDS), 0, -1)
    save_word_folder(folder, WordTable(WORDS, vectors, counts), WordFolderConfig(pooling=pooling))
    return folder


TRANSFORMERS: dict[str, Callable[[Path], Path]] = {
    "bert-cls": bert_folder,
    "bert-mean": bert_mean_folder,
    "instructor": instructor_folder,
    "dense": dense_folder,
    "roberta-mean": roberta_folder,
    "xlm-roberta-cls": xlm_roberta_folder,
    "distilbert": distilbert_folder,
    "distilbert-sinusoidal": sinusoidal_folder,
    "modernbert": modernbert_folder,
    "nomic-bert": nomic_folder,
    "mpnet": mpnet_folder,
    "albert": albert_folder,
    "electra": electra_folder,
    "llama-last": llama_folder,
    "qwen3-left": qwen_folder,
    "qwen3-right": qwen_right_folder,
}
"""Every family with a network, by name."""

TABLES: dict[str, Callable[[Path], Path]] = {
    "static-embedding": static_folder,
    "model2vec": model2vec_folder,
    "glove": glove_file,
    "word2vec": word2vec_file,
    "trained": trained_folder,
    "trained-sif": lambda folder: trained_folder(folder, Pooling.SIF),
}
"""Every family with a table, by name."""
