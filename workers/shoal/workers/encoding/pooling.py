"""One vector from the token vectors of each text: the pooling modes of sentence-transformers, in torch and float32."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pool(hidden: Tensor, mask: Tensor, modes: Sequence[str]) -> Tensor:
    """Vectors (n, hidden size times number of modes) float32 from token vectors.

    `hidden` is (n, length, hidden size) of any float type, `mask` (n, length) with 1 for tokens and 0 for padding, at
    either end; each text has a token. Raises ValueError for an unknown mode (see `sentence_config.POOLING_MODES`).
    """
    hidden = hidden.float()
    present = mask.bool()
    # Whatever the model computed for padding, NaN included, must not reach a sum.
    hidden = hidden.masked_fill(~present.unsqueeze(-1), 0.0)
    return torch.cat([_pool(hidden, present, mode) for mode in modes], dim=1)


def normalized(vectors: Tensor) -> Tensor:
    """Rows of unit length (L2); a row of zeros stays as it is, for its text is in error."""
    return torch.nn.functional.normalize(vectors.float(), p=2, dim=1, eps=1e-30)


def _pool(hidden: Tensor, present: Tensor, mode: str) -> Tensor:
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    match mode:
        case "cls":
            return hidden[rows, present.int().argmax(dim=1)]
        case "lasttoken":
            return hidden[rows, torch.where(present, positions, -1).argmax(dim=1)]
        case "max":
            return hidden.masked_fill(~present.unsqueeze(-1), float("-inf")).amax(dim=1)
        case "mean":
            return hidden.sum(dim=1) / present.sum(dim=1, keepdim=True)
        case "mean_sqrt_len_tokens":
            return hidden.sum(dim=1) / present.sum(dim=1, keepdim=True).sqrt()
        case "weightedmean":
            # A token weighs its place in the text, from 1.
            weights = present.cumsum(dim=1) * present
            return (hidden * weights.unsqueeze(-1)).sum(dim=1) / weights.sum(dim=1, keepdim=True)
        case _:
            raise ValueError(f"pooling mode {mode!r} is not known")
