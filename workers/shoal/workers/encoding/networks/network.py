"""What a network is to the rest of the encoder: token ids of several texts in, their last hidden states out.

How a network computes is its own file's; what becomes of hidden states is pooling's.
"""

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
class FlatBatch:
    """The tokens of several texts laid end to end, without padding."""

    ids: TokenIds
    """(tokens,) int32."""
    lengths: Sequence[int]
    """Tokens of each text, at least 1; their sum is `tokens`."""
    type_ids: TokenIds | None = None
    """(tokens,) int32; None where all are 0."""

    @classmethod
    def of(cls, ids: Sequence[TokenIds], type_ids: Sequence[TokenIds | None]) -> FlatBatch:
        """The batch of these texts, in order; `type_ids` has an entry for each, None for zeros."""
        types = None
        if any(some is not None for some in type_ids):
            types = np.concatenate(
                [np.zeros_like(one) if some is None else some for one, some in zip(ids, type_ids, strict=True)]
            )
        return cls(np.concatenate(ids), [len(one) for one in ids], types)

    @property
    def starts(self) -> npt.NDArray[np.int32]:
        """(texts + 1,) int32: where each text begins, and the end of the last."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)


def sent(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on the device; to a GPU through pinned memory, so that the copy does not hold up the caller."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def check_ids(batch: FlatBatch, rows: int) -> None:
    """Raises IndexError for a token that a table of so many rows does not have, as a lookup on a CPU does: on a GPU it would
    end the process."""
    if (largest := int(batch.ids.max())) >= rows:
        raise IndexError(f"the tokenizer gives token {largest}, the model has {rows}")


class Network(ABC):
    """A transformer without its pooling. As many as `inference_threads` threads may call `hidden` at once."""

    hidden_size: int
    position_limit: int | None
    """Tokens of a text that it can tell apart; None where its files set no limit."""
    device: torch.device
    bounds: BatchBounds
    inference_threads: int = 1
    precision: str = "float32"

    @abstractmethod
    def hidden(self, batch: FlatBatch) -> Tensor:
        """Last hidden states (tokens, hidden_size) of any float type, on `device`, in the order of the batch.

        No text's states depend on its batch mates.
        """

    def init_inference_thread(self) -> None:
        """Called once in each thread that will call `hidden`."""
        return
