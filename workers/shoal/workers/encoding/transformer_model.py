"""A transformer with its pooling as an embedding model: Hugging Face weights in float32, on the GPU if there is one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModel

from shoal.workers.encoding.batching import plan_batches, run_isolated
from shoal.workers.encoding.fingerprint import folder_fingerprint
from shoal.workers.encoding.model import EMPTY_TEXT, Encoded, ModelError, Role, Vectors, checked
from shoal.workers.encoding.pooling import normalized, pool
from shoal.workers.encoding.sentence_config import SentenceConfig, read_sentence_config
from shoal.workers.encoding.tokenization import TokenizedText, Tokenizer

# What a forward pass holds, padded: on a CPU more only leaves its cache, a GPU needs much to be busy.
CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 32_768
MAX_BATCH_ROWS = 1024
# For models whose files state no limit at all.
_DEFAULT_MAX_TOKENS = 512


class TransformerModel:
    """A model folder in memory. Use it in the thread that made it: the number of torch's threads belongs to that thread."""

    def __init__(self, folder: Path, name: str, threads: int, device: str | None = None) -> None:
        """Reads the model in `folder`; `threads` bounds the CPU cores used, `device` is torch's name for one.

        Raises ModelError when files are missing or malformed, or ask for what is not supported.
        """
        self.name = name
        self._config = read_sentence_config(folder, name)
        inner = folder / self._config.transformer
        torch.set_num_threads(threads)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._tokenizer = Tokenizer(inner, name)
        self._network = _load_network(inner, name).to(self._device)
        self._takes_type_ids = "token_type_ids" in inspect.signature(self._network.forward).parameters
        self.batch_tokens = CPU_BATCH_TOKENS if self._device.type == "cpu" else GPU_BATCH_TOKENS
        self.max_tokens = _max_tokens(self._config, self._tokenizer, self._network)
        if self.max_tokens <= self._tokenizer.special_tokens:
            raise ModelError(name, f"reads {self.max_tokens} tokens, of which {self._tokenizer.special_tokens} are special")
        self._tokenizer.limit(self.max_tokens)
        self.dimension = int(self._network.config.hidden_size) * len(self._config.pooling)
        try:
            self.fingerprint = folder_fingerprint(inner, {**self._config.settings(), "max_tokens": self.max_tokens})
        except (OSError, ValueError) as error:
            raise ModelError(name, error) from error

    def encode(self, texts: Sequence[str], role: Role) -> Encoded:
        """See `EmbeddingModel.encode`."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        tokens = [0] * len(texts)
        truncated = [False] * len(texts)
        errors = ["" if text.strip() else EMPTY_TEXT for text in texts]
        readable = [row for row, error in enumerate(errors) if not error]
        prepared = [self._prepared(texts[row], role) for row in readable]
        read: list[tuple[int, TokenizedText]] = []
        for row, text in zip(readable, run_isolated(prepared, self._tokenizer.tokenize), strict=True):
            if isinstance(text, Exception):
                errors[row] = f"the tokenizer failed: {_one_line(text)}"
            elif len(text.ids) <= self._tokenizer.special_tokens:
                errors[row] = "the tokenizer finds nothing to read in the text"
            else:
                read.append((row, text))
                tokens[row], truncated[row] = len(text.ids), text.truncated
        for places in plan_batches([len(text.ids) for _, text in read], self.batch_tokens, MAX_BATCH_ROWS):
            batch = [read[place] for place in places]
            results = run_isolated([text for _, text in batch], self._forward)
            for (row, _), result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    self._check_device(result)
                    errors[row] = f"the model failed: {_one_line(result)}"
                else:
                    vectors[row] = result
        return checked(vectors, tokens, truncated, errors)

    def _prepared(self, text: str, role: Role) -> str:
        prompted = self._config.prompt(role) + text
        return prompted.lower() if self._config.lower_case else prompted

    def _forward(self, batch: Sequence[TokenizedText]) -> list[Vectors]:
        """The vector (dimension,) of each text, computed as one padded batch."""
        longest = max(len(text.ids) for text in batch)
        # Padding goes to the right whatever the tokenizer prefers: positions then start at the text in every architecture.
        ids = np.full((len(batch), longest), self._tokenizer.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        type_ids = np.zeros_like(ids)
        for row, text in enumerate(batch):
            ids[row, : len(text.ids)] = text.ids
            mask[row, : len(text.ids)] = 1
            type_ids[row, : len(text.ids)] = text.type_ids
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._takes_type_ids and type_ids.any():
            inputs["token_type_ids"] = type_ids
        with torch.inference_mode():
            tensors = {key: torch.from_numpy(value).to(self._device) for key, value in inputs.items()}
            hidden = self._network(**tensors).last_hidden_state
            vectors = pool(hidden, tensors["attention_mask"], self._config.pooling)
            return list((normalized(vectors) if self._config.normalize else vectors).cpu().numpy())

    def _check_device(self, failure: Exception) -> None:
        """Some GPU errors stay for the life of the process; no text is to blame for those."""
        if self._device.type != "cuda":
            return
        try:
            torch.zeros(1, device=self._device).add_(1)
            torch.cuda.synchronize(self._device)
        except Exception:
            raise ModelError(self.name, f"the GPU no longer answers: {failure}") from failure


def _load_network(folder: Path, name: str) -> Any:
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(name, f"{config.model_type} is an encoder with a decoder, which is not supported")
        network, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(name, f"the weights cannot be loaded: {_one_line(error)}") from error
    # Absent weights are filled with random numbers; only the pooler, which is not used here, may be.
    absent = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if absent:
        raise ModelError(name, f"the weights lack {len(absent)} tensors, the first is {absent[0]}")
    return network.eval()


def _max_tokens(config: SentenceConfig, tokenizer: Tokenizer, network: Any) -> int:
    stated = config.max_tokens or tokenizer.stated_limit or _DEFAULT_MAX_TOKENS
    table = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, torch.nn.Embedding):
        return stated
    # RoBERTa and its kin start counting after the padding index.
    offset = 0 if table.padding_idx is None else table.padding_idx + 1
    return min(stated, table.num_embeddings - offset)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
