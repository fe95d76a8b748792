"""Products in int8 against the same product in float64: the error is what 127 steps to either side allow."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from shoal.workers.encoding.networks.encoder_weights import Dense  # noqa: E402
from shoal.workers.encoding.networks.int8_linear import Int8Linear  # noqa: E402
from shoal.workers.encoding.networks.linear import ACTIVATIONS, PlainLinear  # noqa: E402


def random(*shape: int, seed: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(got: Any, wanted: Any) -> float:
    return float(torch.nn.functional.cosine_similarity(got.double(), wanted.double(), dim=1).min())


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("activation", ["", "gelu"])
def test_it_is_close_to_the_exact_product(rows: int, biased: bool, activation: str) -> None:
    layer = Dense(random(96, 64, seed=1) * 0.1, random(96, seed=2) if biased else None)
    x = random(rows, 64, seed=3).bfloat16()
    got = Int8Linear(layer, activation)(x)
    assert (got.shape, got.dtype) == ((rows, 96), torch.bfloat16)
    assert cosine(got, PlainLinear(layer, activation)(x.float())) > 0.9995


def test_the_residual_is_added() -> None:
    layer = Dense(random(32, 64, seed=1) * 0.1, random(32, seed=2))
    x, residual = random(9, 64, seed=3).bfloat16(), random(9, 32, seed=4).bfloat16()
    exact = PlainLinear(layer)(x.float()) + residual.float()
    assert cosine(Int8Linear(layer).plus(x, residual), exact) > 0.9995


def test_an_outlier_in_one_token_does_not_affect_the_others() -> None:
    layer = Dense(random(32, 64, seed=1) * 0.1, None)
    x = random(4, 64, seed=3).bfloat16()
    before = Int8Linear(layer)(x)
    x[2] *= 1000
    after = Int8Linear(layer)(x)
    for row in (0, 1, 3):
        assert torch.equal(after[row], before[row])


def test_rows_of_zeros_and_of_one_number_are_exact() -> None:
    layer = Dense(torch.eye(16), random(16, seed=2))
    x = torch.zeros(2, 16).bfloat16()
    x[1, 5] = 3.0
    got = Int8Linear(layer)(x).float()
    wanted = x.float() + layer.bias
    torch.testing.assert_close(got, wanted, atol=0.02, rtol=0.01)


def test_gelu_is_the_exact_one_over_its_whole_range() -> None:
    layer = Dense(torch.ones(1, 1), None)
    x = torch.linspace(-9, 9, 400)[:, None].bfloat16()
    got = Int8Linear(layer, "gelu")(x).float()
    torch.testing.assert_close(got, ACTIVATIONS["gelu"](x.float()), atol=0.004, rtol=0.02)


def test_other_activations_are_refused() -> None:
    with pytest.raises(ValueError, match="relu"):
        Int8Linear(Dense(torch.ones(1, 1), None), "relu")
