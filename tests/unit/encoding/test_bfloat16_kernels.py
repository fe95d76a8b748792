"""The compiled kernels against torch in float64: a result differs from the true one by a rounding to bfloat16, no more."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from torch import Tensor  # noqa: E402

from shoal.workers.encoding import bfloat16_kernels as kernels  # noqa: E402

# Half a step of bfloat16's 8 significant bits, and a little for the exponential.
ROUNDING = 2**-8 * 1.06


def random(*shape: int, seed: int = 1, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).bfloat16()


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 100, 257])
@pytest.mark.parametrize("scale", [0.01, 3.0, 60.0])
def test_softmax_is_right_to_a_rounding_for_every_length(length: int, scale: float) -> None:
    places = -(-length // 16) * 16
    scores = random(2 * 3 * places, places, scale=scale)
    wanted = scores.double()[:, :length].softmax(dim=-1)
    kernels.softmax(kernels.bits(scores), np.array([length, length]))
    rows = [row for row in range(len(scores)) if row % places < length]
    got = scores.double()[rows]
    torch.testing.assert_close(got[:, :length], wanted[rows], rtol=ROUNDING, atol=1e-30)
    assert not got[:, length:].any()


def test_softmax_takes_each_texts_own_length() -> None:
    scores = random(2 * 1 * 16, 16)
    before = scores.clone()
    kernels.softmax(kernels.bits(scores), np.array([5, 12]))
    first, second = scores.double()[:5], scores.double()[16:28]
    torch.testing.assert_close(first[:, :5], before.double()[:5, :5].softmax(-1), rtol=ROUNDING, atol=1e-30)
    torch.testing.assert_close(second[:, :12], before.double()[16:28, :12].softmax(-1), rtol=ROUNDING, atol=1e-30)
    assert not first[:, 5:].any() and not second[:, 12:].any()


def test_softmax_of_far_apart_and_equal_scores() -> None:
    scores = torch.full((16, 16), -30000.0).bfloat16()
    scores[0, 3] = 30000.0
    kernels.softmax(kernels.bits(scores), np.array([16]))
    assert scores[0, 3] == 1.0
    assert float(scores[0].double().sum()) == pytest.approx(1.0)
    assert scores[1].tolist() == [1 / 16] * 16


@pytest.mark.parametrize("size", [8, 32, 384, 1000])
def test_layer_norm_is_right_to_a_rounding(size: int) -> None:
    x = random(40, size, scale=5.0)
    weight, bias = random(size, seed=2).float(), random(size, seed=3).float()
    y = torch.empty_like(x)
    kernels.layer_norm(kernels.bits(x), weight.numpy(), bias.numpy(), 1e-12, kernels.bits(y))
    wanted = torch.nn.functional.layer_norm(x.double(), (size,), weight.double(), bias.double(), 1e-12)
    torch.testing.assert_close(y.double(), wanted, rtol=ROUNDING, atol=1e-5)


def test_heads_are_split_padded_with_zeros_and_joined_again() -> None:
    lengths, heads, size, places = [3, 5], 4, 8, 16
    qkv = random(8, 3, heads, size)
    parts = torch.full((3, 2, heads, places, size), 7.0).bfloat16()
    starts = np.array([0, 3])
    kernels.split_heads(kernels.bits(qkv), starts, np.array(lengths), kernels.bits(parts))
    for text, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        assert torch.equal(parts[:, text, :, :length], qkv[start : start + length].permute(1, 2, 0, 3))
        assert not parts[:, text, :, length:].any()
    joined = torch.zeros(8, heads, size).bfloat16()
    kernels.join_heads(kernels.bits(parts[2].contiguous()), starts, np.array(lengths), kernels.bits(joined))
    assert torch.equal(joined, qkv[:, 2])
