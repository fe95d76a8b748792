"""The unpadded network's parts: products, and the order of a batch. Parity with references is the conformance suite's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from shoal.workers.encoding.networks.encoder_weights import Dense, encoder_weights  # noqa: E402
from shoal.workers.encoding.networks.linear import ACTIVATIONS, PackedLinear, PlainLinear, packing_works  # noqa: E402
from shoal.workers.encoding.networks.network import UnpaddedBatch  # noqa: E402
from shoal.workers.encoding.networks.unpadded_network import UnpaddedNetwork  # noqa: E402


def random(*shape: int, seed: int = 1, dtype: Any = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_products_equal_torchs(dtype: Any) -> None:
    if not packing_works(dtype):
        pytest.skip(f"this build of torch has no packed products of {dtype}")
    for bias in (random(40, seed=3, dtype=dtype), None):
        layer = Dense(random(40, 24, seed=2, dtype=dtype), bias)
        for rows in (1, 7, 300):
            x, residual = random(rows, 24, seed=4, dtype=dtype), random(rows, 40, seed=5, dtype=dtype)
            near = {"atol": 1e-4, "rtol": 1e-4} if dtype is torch.float32 else {"atol": 0.06, "rtol": 0.02}
            for name in ("", *ACTIVATIONS):
                torch.testing.assert_close(PackedLinear(layer, name)(x), PlainLinear(layer, name)(x), **near)
            packed, plain = PackedLinear(layer), PlainLinear(layer)
            torch.testing.assert_close(packed.plus(x, residual), plain.plus(x, residual), **near)


@pytest.fixture(scope="module")
def network() -> UnpaddedNetwork:
    from transformers import BertConfig, BertModel

    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    weights = encoder_weights(BertModel(config).eval())
    assert weights is not None
    return UnpaddedNetwork(weights, torch.float32, threads=1)


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12), seed=st.integers(0, 1000))
def test_states_come_back_in_the_order_of_the_batch_whatever_its_lengths(
    network: UnpaddedNetwork, lengths: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    texts = [rng.integers(0, 100, size=length).astype(np.int32) for length in lengths]
    types = [rng.integers(0, 2, size=length).astype(np.int32) if rng.random() < 0.3 else None for length in lengths]
    together = network.hidden(UnpaddedBatch.of(texts, types))
    start = 0
    for text, kinds in zip(texts, types, strict=True):
        by_itself = network.hidden(UnpaddedBatch.of([text], [kinds]))
        torch.testing.assert_close(together[start : start + len(text)], by_itself, atol=1e-5, rtol=0)
        start += len(text)
