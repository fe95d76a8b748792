"""Attention on a CPU, compiled and in torch: equal to the formula, and no text attends to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from shoal.workers.encoding.networks.attention import GroupedAttention, TiledAttention, cpu_attention  # noqa: E402
from shoal.workers.encoding.networks.kernels.tile_code import tiles_work  # noqa: E402

KINDS = [TiledAttention, GroupedAttention]
TYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 0.03}


def attention(kind: Any, lengths: Sequence[int], dtype: Any) -> Any:
    if kind is TiledAttention and not tiles_work(dtype is torch.bfloat16):
        pytest.skip(f"this CPU has no instructions for tiles of {dtype}")
    return kind(lengths)


def random_heads(tokens: int, dtype: Any, heads: int = 4, size: int = 8, scale: float = 1.0) -> Tensor:
    """Queries (scaled), keys and values."""
    qkv = torch.randn(tokens, 3, heads, size, generator=torch.Generator().manual_seed(1))
    qkv[:, 0] *= scale * size**-0.5
    return qkv.to(dtype)


def check(context: Tensor, qkv: Tensor, lengths: Sequence[int], window: int | None = None) -> None:
    """Each text's attention by the formula, in float64."""
    start = 0
    for length in lengths:
        q, k, v = qkv[start : start + length].double().permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2)
        if window is not None:
            positions = torch.arange(length)
            scores = scores.masked_fill((positions[:, None] - positions[None, :]).abs() > window, float("-inf"))
        wanted = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        got = context[start : start + length].double()
        torch.testing.assert_close(got, wanted, atol=TOLERANCE[qkv.dtype], rtol=0.02 if qkv.dtype is TYPES[1] else 1e-5)
        start += length
    assert not context[start:].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(1, 150), min_size=1, max_size=9), window=st.sampled_from([None, 0, 1, 7, 64]))
def test_no_text_sees_another(kind: Any, dtype: Any, lengths: list[int], window: int | None) -> None:
    lengths = sorted(lengths, reverse=True)
    attend = attention(kind, lengths, dtype)
    qkv = random_heads(sum(lengths) + 5, dtype)
    check(attend(qkv, window), qkv, lengths, window)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [2, 24, 32, 34, 64, 66, 128, 130])
def test_heads_of_any_size(kind: Any, dtype: Any, size: int) -> None:
    lengths = [70, 33, 32, 31, 7, 6, 5, 1]
    qkv = random_heads(sum(lengths), dtype, heads=2, size=size)
    check(attention(kind, lengths, dtype)(qkv, None), qkv, lengths)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("window", [None, 128])
def test_long_texts(kind: Any, dtype: Any, window: int | None) -> None:
    lengths = [700, 520]
    qkv = random_heads(sum(lengths), dtype, heads=2)
    check(attention(kind, lengths, dtype)(qkv, window), qkv, lengths, window)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_scores_far_apart(kind: Any, dtype: Any) -> None:
    """The smaller of two scores may be further below than a float32's exponential reaches."""
    lengths = [65, 20]
    qkv = random_heads(sum(lengths), dtype, scale=300.0)
    context = attention(kind, lengths, dtype)(qkv, None)
    assert context.isfinite().all()
    if kind is GroupedAttention and dtype is torch.bfloat16:
        return  # torch rounds the scores themselves, by 1 in 300.
    # Rounding a score of some hundreds to float32 alone moves its exponential by 3e-5.
    start = 0
    for length in lengths:
        q, k, v = qkv[start : start + length].double().permute(1, 2, 0, 3)
        wanted = ((q @ k.transpose(1, 2)).softmax(-1) @ v).transpose(0, 1).flatten(1)
        near = 1e-3 if dtype is torch.float32 else 0.5
        torch.testing.assert_close(context[start : start + length].double(), wanted, atol=near, rtol=near)
        start += length


@pytest.mark.parametrize("dtype", TYPES)
def test_a_texts_numbers_do_not_depend_on_its_neighbours(dtype: Any) -> None:
    qkv = random_heads(90, dtype)
    alone = attention(TiledAttention, [30], dtype)(qkv[40:70].contiguous(), None)
    among = attention(TiledAttention, [40, 30, 20], dtype)(qkv, None)[40:70]
    assert torch.equal(alone, among)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_bad_values_of_a_text_affect_all_of_it_and_no_other_text(kind: Any, dtype: Any, broken: float) -> None:
    """So that the text gets an error, not a vector that looks valid."""
    lengths = [40, 30, 20]
    qkv = random_heads(sum(lengths), dtype)
    qkv[50] = broken
    context = attention(kind, lengths, dtype)(qkv, None)
    assert not context[40:70].isfinite().any()
    assert context[:40].isfinite().all() and context[70:].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_attention_would_be_noticed(kind: Any) -> None:
    """Tests the tests above: attending to another text's positions changes the result."""
    qkv = random_heads(18, torch.float32)
    mixed = attention(kind, [18], torch.float32)(qkv, None)
    right = attention(kind, [9, 9], torch.float32)(qkv, None)
    assert (mixed - right).abs().max() > 0.05


def test_the_compiled_attention_is_used_where_possible() -> None:
    for dtype, size in ((torch.float32, 8), (torch.float32, 7), (torch.bfloat16, 8)):
        wanted = TiledAttention if tiles_work(dtype is torch.bfloat16) else GroupedAttention
        assert isinstance(cpu_attention([4], dtype, size), wanted)
    # A pair of bfloat16 is one word: a head of an odd size would begin in the middle of one.
    assert isinstance(cpu_attention([4], torch.bfloat16, 7), GroupedAttention)
