"""The compiled kernels against torch in float64: a result differs from the true one by a rounding to bfloat16, no more."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from torch import Tensor  # noqa: E402

from shoal.workers.encoding.networks.kernels import bfloat16_kernels as kernels  # noqa: E402

# Half a step of bfloat16's 8 significant bits, and a little.
ROUNDING = 2**-8 * 1.06


def random(*shape: int, seed: int = 1, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).bfloat16()


@pytest.mark.parametrize("size", [8, 32, 384, 1000])
def test_layer_norm_is_exact_up_to_rounding(size: int) -> None:
    x = random(40, size, scale=5.0)
    weight, bias = random(size, seed=2).float(), random(size, seed=3).float()
    y = torch.empty_like(x)
    kernels.layer_norm(kernels.bits(x), weight.numpy(), bias.numpy(), 1e-12, kernels.bits(y))
    wanted = torch.nn.functional.layer_norm(x.double(), (size,), weight.double(), bias.double(), 1e-12)
    torch.testing.assert_close(y.double(), wanted, rtol=ROUNDING, atol=1e-5)
