"""The interface of networks: token ids of several texts in, their last hidden states out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shoal.workers.encoding.batching import BatchBounds

TokenIds = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class UnpaddedBatch:
    """The tokens of several texts laid end to end, without padding."""

    ids: TokenIds
    """(tokens,) int32."""
    lengths: Sequence[int]
    """Tokens of each text, at least 1; their sum is `tokens`."""
    type_ids: TokenIds | None = None
    """(tokens,) int32; None where all are 0."""

    @classmethod
    def of(cls, ids: Sequence[TokenIds], type_ids: Sequence[TokenIds | None]) -> UnpaddedBatch:
        """The batch of these texts, in order; `type_ids` has an entry for each, None for zeros."""
        types = None
        if any(some is not None for some in type_ids):
            types = np.concatenate(
                [np.zeros_like(one) if some is None else some for one, some in zip(ids, type_ids, strict=True)]
            )
        return cls(np.concatenate(ids), [len(one) for one in ids], types)

    @property
    def starts(self) -> npt.NDArray[np.int32]:
        """(texts + 1,) int32: the first token of each text, and the end of the last text."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)


def to_device(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """The array as a tensor on `device`; copied to a GPU from pinned memory, so that the caller does not wait."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def check_ids(batch: UnpaddedBatch, rows: int) -> None:
    """Raises IndexError for a token id outside a table of `rows` rows.

    A lookup on a CPU raises it by itself; on a GPU such an id would end the process.
    """
    if (largest := int(batch.ids.max())) >= rows:
        raise IndexError(f"the tokenizer returned token id {largest}, the model has {rows} tokens")


class Network(ABC):
    """A transformer without its pooling. As many as `inference_threads` threads may call `hidden` at once."""

    hidden_size: int
    position_limit: int | None
    """The most tokens that it can compute; None without a position table."""
    stated_positions: int | None
    """The number of positions that the model's config states, if any."""
    device: torch.device
    bounds: BatchBounds
    inference_threads: int = 1
    precision: str = "float32"

    @abstractmethod
    def hidden(self, batch: UnpaddedBatch) -> Tensor:
        """Last hidden states (tokens, hidden_size) of any float type, on `device`, in the order of the batch.

        A text's states do not depend on the other texts of the batch.
        """

    def init_inference_thread(self) -> None:
        """Called once in each thread that will call `hidden`."""
        return
