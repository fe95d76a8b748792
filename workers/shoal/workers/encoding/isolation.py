"""Vectors of a batch though some of its texts break it: these are found by running parts again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shoal.workers.encoding.model import EmbeddingModel, ModelError, Tokenized, Vectors, one_line


def flawed_rows(vectors: Vectors) -> list[int]:
    """Places of the rows of (n, dimension) in which something is not finite, or all is zero."""
    return np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))).tolist()


def forward_isolated(model: EmbeddingModel, batch: Sequence[Tokenized]) -> tuple[Vectors, dict[int, str]]:
    """Rows (n, dimension) float32 of `model.forward`, and why the texts at some places have none: their rows are zero.

    A batch that fails is halved until each text that breaks stands alone. Flawed rows are computed again without
    the others, in case a neighbour is to blame; one that stays so is given as it came. Raises ModelError.
    """
    whole = range(len(batch))
    try:
        vectors = model.forward(batch)
    except ModelError:
        raise
    except Exception as error:
        if len(batch) == 1:
            return np.zeros((1, model.dimension), dtype=np.float32), {0: f"the model failed: {one_line(error)}"}
        vectors, suspects = np.zeros((len(batch), model.dimension), dtype=np.float32), list(whole)
    else:
        suspects = flawed_rows(vectors)
        if not suspects or len(batch) == 1:
            return vectors, {}
        # Not every model lets its result be written to.
        vectors = np.array(vectors, dtype=np.float32)
    half = len(batch) // 2
    reasons: dict[int, str] = {}
    for places in [suspects] if len(suspects) < len(batch) else [whole[:half], whole[half:]]:
        rows, failed = forward_isolated(model, [batch[place] for place in places])
        vectors[places] = rows
        reasons.update((places[place], reason) for place, reason in failed.items())
    return vectors, reasons
