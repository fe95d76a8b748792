from pathlib import Path

import numpy as np
import pytest

from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.word_vectors.word_table import read_word_table


@pytest.mark.parametrize("binary", [False, True])
def test_words_and_vectors_are_in_the_order_of_the_file_each_word_once(binary: bool, tmp_path: Path) -> None:
    rows = [("the", [1, 2]), ("tide", [3, 4]), ("the", [5, 6]), ("moon", [7, 8])]
    content = b"4 2\n"
    for word, values in rows:
        content += word.encode() + b" "
        content += np.array(values, dtype="<f4").tobytes() if binary else b"%d %d\n" % tuple(values)
    (tmp_path / "vectors").write_bytes(content)
    table = read_word_table(tmp_path / "vectors")
    assert table.words == ("the", "tide", "moon")
    assert (table.vectors.dtype, table.vectors.tolist()) == (np.float32, [[1, 2], [3, 4], [7, 8]])
    assert table.counts is None


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        read_word_table(tmp_path / "absent")
