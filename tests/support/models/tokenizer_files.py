"""Tokenizers of tiny models, in the files of real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = (
    *("the", "a", "tide", "moon", "orbit", "star", "planet", "locks", "slowly", "and", "faces", "one", "side"),
    *("shoal", "of", "fish", "turns", "at", "once", "in", "deep", "water"),
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:!?'-"


def _save_tokenizer(folder: Path, backend: Any, padding_side: str = "right", **specials: str) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=512, padding_side=padding_side, **specials
    )
    tokenizer.save_pretrained(str(folder))


def save_word_pieces(folder: Path) -> int:
    """Writes a WordPiece tokenizer as BERT's; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *WORDS]
    vocabulary = {name: index for index, name in enumerate(dict.fromkeys(names))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    _save_tokenizer(folder, backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    return len(vocabulary)


def save_byte_pieces(folder: Path, frame: str, padding_side: str = "right") -> int:
    """Writes a byte-level tokenizer with special tokens as in `frame`, such as "<s> $A </s>"; returns the size of its
    vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    names = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {name: index for index, name in enumerate(names)}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if frame:
        backend.post_processor = processors.TemplateProcessing(frame, special_tokens=[("<s>", 0), ("</s>", 2)])
    _save_tokenizer(folder, backend, padding_side, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    return len(vocabulary)
