import numpy as np

from shoal.workers.encoding.model import ModelError, checked


def test_broken_rows_become_errors_and_zeros_while_their_neighbours_stay() -> None:
    vectors = np.array([[1, 0], [np.nan, 1], [0, 0], [np.inf, 0], [3, 4], [5, 5]], dtype=np.float32)
    encoded = checked(vectors, [1, 2, 3, 4, 5, 6], [True] * 6, ["", "", "", "", "", "given"])
    assert encoded.vectors.tolist() == [[1, 0], [0, 0], [0, 0], [0, 0], [3, 4], [0, 0]]
    assert encoded.errors == [
        "",
        "the model gave a vector with NaN or infinity",
        "the model gave a vector of zeros",
        "the model gave a vector with NaN or infinity",
        "",
        "given",
    ]
    assert encoded.tokens == [1, 0, 0, 0, 5, 0]
    assert encoded.truncated == [True, False, False, False, True, False]


def test_the_answer_is_contiguous_float32() -> None:
    encoded = checked(np.ones((3, 4), dtype=np.float32).T, [1] * 4, [False] * 4, [""] * 4)
    assert encoded.vectors.dtype == np.float32
    assert encoded.vectors.flags.c_contiguous
    assert encoded.vectors.shape == (4, 3)


def test_a_model_error_is_one_line_that_names_the_model() -> None:
    error = ModelError("m", "first\n  second")
    assert str(error) == "model 'm': first second"
    assert error.reason == "first second"
