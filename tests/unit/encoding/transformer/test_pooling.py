import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from shoal.workers.encoding.transformer.pooling import pool  # noqa: E402
from shoal.workers.encoding.transformer.sentence_files import POOLING_MODES  # noqa: E402

Array = npt.NDArray[np.float32]
HIDDEN = 6
LENGTHS = (1, 4, 9)
SUMMED = ("mean", "mean_sqrt_len_tokens", "weightedmean", "max", "cls")


def reference(tokens: Array, mode: str, skipped: int = 0) -> Array:
    """One text at a time: (length, hidden size) to (hidden size,)."""
    positions = np.arange(1, len(tokens) + 1)[skipped:]
    match mode:
        case "lasttoken":
            return tokens[-1]
        case "cls":
            return tokens[skipped]
        case "max":
            return tokens[skipped:].max(axis=0)
        case "mean":
            return tokens[skipped:].mean(axis=0)
        case "mean_sqrt_len_tokens":
            return tokens[skipped:].sum(axis=0) / np.sqrt(len(tokens) - skipped)
        case _:
            return np.average(tokens[skipped:], axis=0, weights=positions)


def texts() -> list[Array]:
    random = np.random.default_rng(1)
    # All below zero, so that a zero taken for a token would win a maximum.
    return [-random.random((length, HIDDEN), dtype=np.float32) - 1 for length in LENGTHS]


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_pooling_equals_the_plain_reference(mode: str) -> None:
    flat, lengths = torch.from_numpy(np.concatenate(texts())), torch.tensor(LENGTHS)
    expected = [reference(tokens, mode) for tokens in texts()]
    np.testing.assert_allclose(pool(flat, lengths, [mode]).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_leading_tokens_are_left_out_on_request(mode: str) -> None:
    skipped = (0, 3, 5)
    flat, lengths = torch.from_numpy(np.concatenate(texts())), torch.tensor(LENGTHS)
    expected = [reference(tokens, mode, number) for tokens, number in zip(texts(), skipped, strict=True)]
    pooled = pool(flat, lengths, [mode], torch.tensor(skipped)).numpy()
    np.testing.assert_allclose(pooled, expected, rtol=1e-6)
    assert (mode in SUMMED) == (np.abs(pooled - pool(flat, lengths, [mode]).numpy()).max() > 1e-3)


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_a_text_of_nan_leaves_its_neighbours_alone(mode: str) -> None:
    broken = texts()
    broken[1][:] = np.nan
    pooled = pool(torch.from_numpy(np.concatenate(broken)), torch.tensor(LENGTHS), [mode]).numpy()
    assert np.isnan(pooled[1]).all()
    expected = [reference(tokens, mode) for tokens in texts()]
    np.testing.assert_allclose(pooled[[0, 2]], [expected[0], expected[2]], rtol=1e-6)


def test_several_modes_are_joined_in_order_in_float32() -> None:
    hidden = torch.arange(24, dtype=torch.bfloat16).reshape(8, 3)
    joined = pool(hidden, torch.tensor([4, 4]), ["lasttoken", "cls"])
    assert joined.dtype == torch.float32
    assert joined.tolist() == [[9, 10, 11, 0, 1, 2], [21, 22, 23, 12, 13, 14]]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown pooling mode 'median'"):
        pool(torch.zeros(1, 1), torch.ones(1, dtype=torch.int64), ["median"])
