"""What `shoal search` shows of a hit, and what it searches for: a text, a vector, or what is like a document."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from shoal.client import Client, Document
from shoal.client.cli.files.query_vector import vector_of
from shoal.console import output as console_output
from shoal.console import print_table
from support.gateway.client_server import FakeGateway


def put(gateway: FakeGateway, *documents: Document) -> None:
    with Client(gateway.address) as client:
        client.upsert("c", documents)


def npy(values: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, dtype=np.float32))
    return file.getvalue()


def test_hits_show_their_title_or_the_first_words(
    shoal: Callable[..., Result], shoal_json: Callable[..., Any], gateway: FakeGateway
) -> None:
    words = "moon " + "and tides " * 30
    put(
        gateway,
        Document("a", "moon", payload={"title": "The Moon"}),
        Document("b", words),
        Document("c", "moon\x1b[31m\n x"),
    )
    lines = shoal("search", "c", "moon").stdout.splitlines()
    assert lines[0].split() == ["score", "id", "version", "title", "or", "text"]
    shown = {line.split()[1]: line.rstrip() for line in lines[1:4]}
    assert shown["a"].endswith("  The Moon")
    assert shown["b"].endswith(words[:79] + "…")
    assert shown["c"].endswith("  moon[31m x")
    hits = {hit["id"]: hit for hit in shoal_json("search", "c", "moon")["hits"]}
    assert (hits["a"]["headline"], hits["a"]["payload"], hits["a"]["text"]) == ("The Moon", {"title": "The Moon"}, "")
    assert hits["b"]["headline"].startswith("moon and tides")
    assert gateway.search.requests[-1].text_characters == 160


def test_added_titles_are_shown(shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "papers.jsonl"
    path.write_text(json.dumps({"id": "1", "title": "Tidal locking", "abstract": "Of moons", "text": "moon"}))
    assert shoal("add", "c", path).exit_code == 0
    assert gateway.world.collections["c"].documents["1"].text == "Tidal locking moon"
    assert "  Tidal locking" in shoal("search", "c", "moon").stdout
    assert "Of moons" in shoal("search", "c", "moon", "--payload").stdout


def test_on_a_terminal_each_hit_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(console_output.Console):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, force_terminal=True, width=40, no_color=True)

    monkeypatch.setattr(console_output, "Console", Terminal)
    rows = [["0.5000", f"document-{n}", "月 the far side of the moon and what is there"] for n in range(3)]
    print_table(["score", "id", "title"], rows, fitted=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].rstrip().endswith("0.5000  document-0  月 the far side of…")


def test_like_finds_other_documents(shoal: Callable[..., Result], gateway: FakeGateway) -> None:
    put(gateway, Document("a", "moon tides"), Document("b", "moon"), Document("c", "bread"))
    result = shoal("search", "c", "--like", "a", "-k", 1)
    assert result.exit_code == 0 and result.stdout.splitlines()[1].split()[1] == "b"
    assert gateway.search.requests[-1].like == "a"
    missing = shoal("search", "c", "--like", "none")
    assert (missing.exit_code, missing.stderr) == (1, "shoal: no document 'none'\n")


@pytest.mark.parametrize(
    "content",
    [
        b"[1, 2.5, -3]",
        b"1\n2.5\r\n\n -3 \n",
        npy([1, 2.5, -3]),
        npy([[1, 2.5, -3]]),
        b'{"text": 0, "vector": [1, 2.5, -3], "tokens": 4}',
        b"\xef\xbb\xbf[1,2.5,-3]",
    ],
)
def test_a_vector_from_a_file_or_from_standard_input(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path, content: bytes
) -> None:
    with Client(gateway.address) as client:
        client.create_collection("own", dimension=3)
    (tmp_path / "vector").write_bytes(content)
    assert shoal("search", "own", "--vector", tmp_path / "vector").exit_code == 0
    assert shoal("search", "own", "--vector", "-", input=content).exit_code == 0
    for request in gateway.search.requests[-2:]:
        assert np.frombuffer(request.vector, "<f4").tolist() == [1, 2.5, -3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no numbers"),
        (b"[]", "no numbers"),
        (b"1\n\nx y\n", "line 3: 'x y' is not a number"),
        (b"[1, true]", "[1]: True is not a number"),
        (b"[1, [2]]", "[1]: [2] is not a number"),
        (b"[1, NaN]", "[1]: nan is not a finite number"),
        (b"1e999", "line 1: inf is not a finite number"),
        (b"[1" + b"0" * 400 + b"]", "[0]: a number too large for a float"),
        (b"[1,", "not JSON: Expecting value: line 1 column 4 (char 3)"),
        (b'{"text": 0}', "not an array of numbers, nor an object with one as 'vector'"),
        (b"\xff\xfe", "neither .npy nor text: not UTF-8 at byte 0"),
        (npy([[1, 2], [3, 4]]), "has shape (2, 2), not that of one vector"),
        (npy([1, 2])[:-3], "cannot be read as .npy: "),
    ],
)
def test_what_is_no_vector_is_named(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "vector"
    path.write_bytes(content)
    result = shoal("search", "c", "--vector", path)
    assert result.exit_code == 1 and result.stderr.startswith(f"shoal: {path}: {message}"), result.stderr
    assert not gateway.search.requests


def test_a_vector_of_another_dimension(shoal: Callable[..., Result], gateway: FakeGateway) -> None:
    result = shoal("search", "c", "--vector", "-", input=b"[1, 2]")
    assert (result.exit_code, result.stderr) == (1, "shoal: query has 2 numbers, the collection 384\n")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_every_form_gives_the_same_numbers(numbers: list[float]) -> None:
    lines = "".join(f"{number!r}\n" for number in numbers).encode()
    assert vector_of(json.dumps(numbers).encode()) == vector_of(lines) == vector_of(npy(numbers)) == numbers


@given(st.binary(max_size=60))
def test_any_bytes_are_numbers_or_a_named_fault(content: bytes) -> None:
    for some in (content, b"[" + content + b"]", b"\x93NUMPY" + content):
        try:
            assert vector_of(some)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize("given", [[], ["moon", "--like", "a"], ["--like", "a", "--vector", "-"]])
def test_one_of_three_is_searched_for(shoal: Callable[..., Result], given: list[str]) -> None:
    result = shoal("search", "c", *given)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "shoal: give one of QUERY, --like and --vector")
