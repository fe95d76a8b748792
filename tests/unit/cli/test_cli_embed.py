"""`shoal embed`: texts from arguments and from stdin, vectors as text, as JSON lines and as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from shoal.client.cli.files.vector_file import VectorFile
from support.gateway.client_server import FakeGateway


def test_arguments_become_vectors(shoal: Callable[..., Result], gateway: FakeGateway):
    result = shoal("embed", "m", "four", "x" * 120, "--role", "query", "--prompt", "", "--dimensions", 3, "--no-normalize")
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first.startswith("1: [ 4.0000  2.0000  0.5000 ...] 3 dimensions, norm 4.500, 4 tokens")
    assert second.endswith("99 tokens, truncated")
    [sent] = gateway.embedding.requests
    assert (sent.model, sent.role, sent.dimensions, sent.HasField("prompt"), sent.normalize) == ("m", 2, 3, True, False)
    assert gateway.world.calls["Embed"] == 1


def test_lines_of_the_input_become_json_lines(shoal: Callable[..., Result]):
    for arguments in ((), ("-",)):
        result = shoal("embed", "m", *arguments, "--json", input="four\n\nsixsix\r\n")
        assert result.exit_code == 1
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["vector"] for line in lines] == [[4, 1, 0.5], None, [6, 1, 0.5]]
        assert [line["text"] for line in lines] == [0, 1, 2]
        assert [line["error"] for line in lines] == [None, "texts[1]: text is empty", None]
        assert result.stderr == "shoal: text 2: text is empty\nshoal: 1 of 3 texts have no vector\n"


def test_a_line_that_is_not_text_does_not_affect_the_others(shoal: Callable[..., Result]):
    for lines in (3, 40):
        result = shoal("embed", "m", "--json", input=b"four\n\xff\xfe\n" + b"sixsix\n" * (lines - 2))
        assert result.exit_code == 1
        vectors = [json.loads(line)["vector"] for line in result.stdout.splitlines()]
        assert vectors == [[4, 1, 0.5], None, *[[6, 1, 0.5]] * (lines - 2)]
        assert result.stderr.startswith("shoal: text 2: not valid Unicode (a lone surrogate at character 0)\n")


def test_many_texts_become_one_file(shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path):
    output = tmp_path / "vectors.npy"
    lines = ["x" * (1 + number % 50) for number in range(700)]
    result = shoal("embed", "m", "--float16", "--output", output, input="\n".join(lines))
    assert result.exit_code == 0, result.stderr
    vectors = np.load(output)
    assert vectors.dtype == np.float16 and vectors.shape == (700, 3)
    assert vectors[:, 0].tolist() == [len(line) for line in lines]
    assert (gateway.world.calls["Embed"], gateway.world.calls["EmbedStream"]) == (0, 1)
    assert result.stdout == f"700 vectors in {output}, {sum(map(len, lines))} tokens\n"
    summary = json.loads(shoal("embed", "m", "a", "--output", output, "--json").stdout)
    assert summary == {"output": str(output), "texts": 1, "failed": 0, "tokens": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.npy"]


def test_failures_are_one_line(shoal: Callable[..., Result], tmp_path: Path):
    for arguments, said in (
        (("embed", "m"), "no texts to embed"),
        (("embed", "m", "a", "--output", tmp_path / "no" / "v.npy"), "No such file or directory"),
    ):
        result = shoal(*arguments, input="")
        assert result.exit_code == 1 and said in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("sizes", [[1], [3, 1, 5], [100_000, 1]])
def test_a_vector_file_is_read_back_whole(tmp_path: Path, sizes: list[int]):
    parts: list[Any] = [np.random.default_rng(size).normal(size=(size, 4)).astype(np.float32) for size in sizes]
    with VectorFile(tmp_path / "v.npy") as file:
        for part in parts:
            file.append(part)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), np.concatenate(parts))


def test_a_failed_vector_file_keeps_the_old_one(tmp_path: Path):
    path = tmp_path / "v.npy"
    np.save(path, np.ones((2, 4)))
    with pytest.raises(KeyError), VectorFile(path) as file:
        file.append(np.zeros((2, 4)))
        raise KeyError("stop")
    with pytest.raises(ValueError, match="rows of"), VectorFile(path) as file:
        file.append(np.zeros((2, 4)))
        file.append(np.zeros((2, 5)))
    assert np.load(path).tolist() == np.ones((2, 4)).tolist()
    assert [one.name for one in tmp_path.iterdir()] == ["v.npy"]
