import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from shoal.workers.encoding.pooling import normalized, pool  # noqa: E402
from shoal.workers.encoding.sentence_files import POOLING_MODES  # noqa: E402

Array = npt.NDArray[np.float32]
HIDDEN, LENGTH = 6, 9
LENGTHS = (1, 4, 9)


def reference(tokens: Array, mode: str) -> Array:
    """One text at a time and without padding: (length, hidden size) to (hidden size,)."""
    match mode:
        case "cls":
            return tokens[0]
        case "lasttoken":
            return tokens[-1]
        case "max":
            return tokens.max(axis=0)
        case "mean":
            return tokens.mean(axis=0)
        case "mean_sqrt_len_tokens":
            return tokens.sum(axis=0) / np.sqrt(len(tokens))
        case _:
            return np.average(tokens, axis=0, weights=np.arange(1, len(tokens) + 1))


def padded(texts: list[Array], left: bool, filler: float) -> tuple[Array, npt.NDArray[np.int64]]:
    hidden = np.full((len(texts), LENGTH, HIDDEN), filler, dtype=np.float32)
    mask = np.zeros((len(texts), LENGTH), dtype=np.int64)
    for row, tokens in enumerate(texts):
        places = slice(LENGTH - len(tokens), LENGTH) if left else slice(0, len(tokens))
        hidden[row, places] = tokens
        mask[row, places] = 1
    return hidden, mask


@pytest.mark.parametrize("filler", [7.0, float("nan")], ids=["numbers in padding", "NaN in padding"])
@pytest.mark.parametrize("left", [False, True], ids=["padded right", "padded left"])
@pytest.mark.parametrize("mode", POOLING_MODES)
def test_pooling_is_the_plain_reference_whatever_the_padding(mode: str, left: bool, filler: float) -> None:
    random = np.random.default_rng(1)
    # All below zero, so that padding taken for a token would win a maximum.
    texts = [-random.random((length, HIDDEN), dtype=np.float32) - 1 for length in LENGTHS]
    hidden, mask = padded(texts, left, filler)
    pooled = pool(torch.from_numpy(hidden), torch.from_numpy(mask), [mode]).numpy()
    np.testing.assert_allclose(pooled, [reference(tokens, mode) for tokens in texts], rtol=1e-6)


def test_several_modes_are_joined_in_order_in_float32() -> None:
    hidden = torch.arange(24, dtype=torch.bfloat16).reshape(2, 4, 3)
    joined = pool(hidden, torch.ones(2, 4), ["lasttoken", "cls"])
    assert joined.dtype == torch.float32
    assert joined.tolist() == [[9, 10, 11, 0, 1, 2], [21, 22, 23, 12, 13, 14]]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="pooling mode 'median' is not known"):
        pool(torch.zeros(1, 1, 1), torch.ones(1, 1), ["median"])


def test_normalised_rows_have_unit_length_even_when_tiny() -> None:
    rows = torch.tensor([[3.0, 4.0], [3e-18, 4e-18], [0.0, 0.0]])
    np.testing.assert_allclose(normalized(rows).numpy(), [[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
