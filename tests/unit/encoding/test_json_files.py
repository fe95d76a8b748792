"""The JSON files of models: whole numbers are integers, however they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.workers.encoding.json_files import is_count, read_json, whole

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values)
def test_a_file_gives_its_values_with_whole_floats_as_integers(tmp_path: Path, value: object) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(value))

    def check(read: object, written: object) -> None:
        if isinstance(written, dict):
            assert isinstance(read, dict) and list(read) == list(written)
            for key, one in written.items():
                check(read[key], one)
        elif isinstance(written, list):
            assert isinstance(read, list) and len(read) == len(written)
            for mine, one in zip(read, written, strict=True):
                check(mine, one)
        else:
            assert read == written
            is_whole = isinstance(written, float) and written.is_integer()
            assert type(read) is (int if is_whole else type(written))

    check(read_json(file), value)


@pytest.mark.parametrize("digits", ["512", "512.0", "512.000", "5.12e2", "51200e-2"])
def test_every_way_to_write_an_integer(digits: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(digits)
    assert repr(read_json(tmp_path / "config.json")) == "512"


@pytest.mark.parametrize("content", [b"{", b"\xff", b"", b"[" * 100_000])
def test_what_is_not_json_is_a_value_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "config.json")


@given(st.integers() | st.floats())
def test_a_number_stays_equal_to_itself(value: float) -> None:
    assert whole(value) == value or value != value


def test_counts() -> None:
    assert [is_count(value) for value in (1, 512, 0, -1, True, 1.0, "1", None)] == [True, True, *[False] * 6]
    assert is_count(0, least=0) and not is_count(-1, least=0) and not is_count(False, least=0)
