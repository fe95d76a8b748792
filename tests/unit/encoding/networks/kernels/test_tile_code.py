"""Tiles of products and rows of exponentials against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from numba import njit  # noqa: E402

from shoal.workers.encoding.networks.kernels.tile_code import (  # noqa: E402
    MASKED,
    TILE_ROWS,
    VECTOR_FLOATS,
    exponentials,
    multiply_tile,
    tiles_work,
)


@njit
def narrow(
    x: Any, x_at: int, stride: int, rows: int, weight: Any, at: int, steps: int, sums: Any, to: int, step: int
) -> None:
    multiply_tile(x, x_at, stride, rows, weight, at, steps, sums, to, step, 2)


@njit
def wide(x: Any, x_at: int, stride: int, rows: int, weight: Any, at: int, steps: int, sums: Any, to: int, step: int) -> None:
    multiply_tile(x, x_at, stride, rows, weight, at, steps, sums, to, step, 4)


@njit
def raised(scores: Any, at: int, stride: int, vectors: int, shares: Any, to: int, step: int, totals: Any) -> None:
    exponentials(scores, at, stride, vectors, shares, to, step, totals)


def skip_without_instructions(bfloat16: bool) -> None:
    if not tiles_work(bfloat16):
        pytest.skip("this CPU has no instructions for such tiles")


def as_words(values: np.ndarray, bfloat16: bool) -> tuple[np.ndarray, np.ndarray]:
    """The numbers as the tiles read them, along the last axis, and what they then are in float64."""
    if not bfloat16:
        return values, values.astype(np.float64)
    rounded = torch.from_numpy(values).bfloat16()
    return rounded.view(torch.uint16).numpy().view(np.uint32), rounded.double().numpy()


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("rows", [1, 5, TILE_ROWS])
@pytest.mark.parametrize("steps", [1, 2, 33])
@pytest.mark.parametrize("vectors", [2, 4])
def test_a_tile_is_the_product(bfloat16: bool, rows: int, steps: int, vectors: int) -> None:
    skip_without_instructions(bfloat16)
    rng = np.random.default_rng(steps)
    grain, columns = (2 if bfloat16 else 1), vectors * VECTOR_FLOATS
    x, x_exact = as_words(rng.standard_normal((rows, (steps + 3) * grain)).astype(np.float32), bfloat16)
    w, w_exact = as_words(rng.standard_normal((columns, steps * grain)).astype(np.float32), bfloat16)
    packed = np.concatenate([np.zeros(7, w.dtype), np.ascontiguousarray(w.T).reshape(-1)])
    sums = np.full((TILE_ROWS, columns + 8), 9.0, np.float32)
    multiply = narrow if vectors == 2 else wide
    multiply(x.reshape(-1), 2, steps + 3, rows, packed, 7, steps, sums.reshape(-1), 5, columns + 8)
    wanted = x_exact[:, 2 * grain : (2 + steps) * grain] @ w_exact.T
    np.testing.assert_allclose(sums[:rows, 5 : 5 + columns], wanted, atol=3e-5, rtol=1e-6)
    assert (sums[:, :5] == 9).all() and (sums[:, 5 + columns :] == 9).all()


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("vectors", [2, 6])
@pytest.mark.parametrize("scale", [0.1, 3.0, 80.0])
def test_rows_of_exponentials(bfloat16: bool, vectors: int, scale: float) -> None:
    skip_without_instructions(bfloat16)
    numbers, grain = vectors * VECTOR_FLOATS, 2 if bfloat16 else 1
    scores = (np.random.default_rng(1).standard_normal((TILE_ROWS, numbers + 4)) * scale).astype(np.float32)
    scores[2, 7] = MASKED
    shares = np.zeros((TILE_ROWS, (numbers + 4) // grain), np.uint32 if bfloat16 else np.float32)
    totals = np.empty(TILE_ROWS, np.float32)
    stride = numbers + 4
    raised(scores.reshape(-1), 4, stride, vectors, shares.reshape(-1), 0, stride // grain, totals)
    part = scores[:, 4:].astype(np.float64)
    wanted = np.exp(part - part.max(axis=1, keepdims=True))
    got = shares[:, : numbers // grain]
    if bfloat16:
        got = torch.from_numpy(got.view(np.uint16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_allclose(got, wanted, rtol=2**-8 if bfloat16 else 1e-5, atol=1e-37)
    np.testing.assert_allclose(totals, wanted.sum(axis=1), rtol=1e-5)
    assert got[2, 3] == 0.0
