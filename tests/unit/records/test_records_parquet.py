"""Parquet of every kind of column: what its values are in JSON, and which row is refused when one has no form there."""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.records import BadRecord, BadRow, Fields, Row, find_inputs, read_file
from shoal.records.json_form import NoJsonForm, column_values

DATE_LIMITS = "a date beyond the years 1 to 9999"


def rows(path: Path, table: pa.Table, columns: set[str] | None = None, **options: Any) -> list[Row | BadRow]:
    pyarrow.parquet.write_table(table, path, **options)
    return [row for files in find_inputs([str(path)]) for file in files for row in read_file(file, columns)]


def not_utf8(*values: bytes) -> pa.Array:
    """Strings as a program may write them that does not check."""
    return pa.array(values, pa.binary()).view(pa.string())


def test_a_date_beyond_year_9999_refuses_its_row_and_names_the_column(tmp_path: Path):
    days = pa.array([0, 5_000_000, 1], pa.int32()).cast(pa.date32())
    found = rows(tmp_path / "a.parquet", pa.table({"id": ["a", "b", "c"], "when": days}))
    assert found == [
        Row(1, {"id": "a", "when": "1970-01-01"}),
        BadRow(2, f"column 'when' holds {DATE_LIMITS}"),
        Row(3, {"id": "c", "when": "1970-01-02"}),
    ]
    # Where the column is not wanted, nothing is wrong with the row.
    assert rows(tmp_path / "a.parquet", pa.table({"id": ["b"], "when": days[1:2]}), {"id"}) == [Row(1, {"id": "b"})]


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_text_that_is_not_utf8_refuses_its_row_and_names_the_column(tmp_path: Path, dictionary: bool):
    table = pa.table({"id": ["a", "b", "c"], "text": not_utf8(b"one", b"caf\xe9!", b"three")})
    found = rows(tmp_path / "a.parquet", table, use_dictionary=dictionary)
    assert found == [
        Row(1, {"id": "a", "text": "one"}),
        BadRow(2, "column 'text' holds bytes that are not UTF-8: 0xe9 at 3"),
        Row(3, {"id": "c", "text": "three"}),
    ]


def test_a_damaged_group_of_rows_does_not_take_the_next_one_with_it(tmp_path: Path):
    path = tmp_path / "a.parquet"
    table = pa.table({"id": [f"{number:06d}" for number in range(3000)]})
    rows(path, table, row_group_size=1000, use_dictionary=False, compression="gzip")
    second = pyarrow.parquet.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    at = second.data_page_offset + second.total_compressed_size // 2
    content[at : at + 40] = bytes(40)
    path.write_bytes(content)
    [[file]] = find_inputs([str(path)])
    found = list(read_file(file))
    [bad] = [row for row in found if isinstance(row, BadRow)]
    assert bad.line == 1001 and bad.reason.startswith("not Parquet: rows 1001 to 2000: ")
    assert [row.line for row in found if isinstance(row, Row)] == [*range(1, 1001), *range(2001, 3001)]
    assert found[-1] == Row(3000, {"id": "002999"})


def test_a_column_twice_is_an_error_that_names_it(tmp_path: Path):
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "text", "text"])
    message = "column 'text' is in the header twice: rename one, so that none of their values is lost"
    assert rows(tmp_path / "a.parquet", table) == [BadRow(1, message)]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([decimal.Decimal("12.50"), None], pa.decimal128(15, 2)), [12.5, None]),
        (pa.array([decimal.Decimal("-7")], pa.decimal128(9, 0)), [-7]),
        (pa.array([decimal.Decimal("0.10")], pa.decimal128(16, 2)), ["0.10"]),
        (
            pa.array([decimal.Decimal("123456789012345678901234567890.12")], pa.decimal256(40, 2)),
            ["123456789012345678901234567890.12"],
        ),
        (pa.array([[datetime.date(2020, 1, 2)], [], None]), [["2020-01-02"], [], None]),
        (pa.array([{"at": [{"day": datetime.date(2020, 1, 2)}]}]), [{"at": [{"day": "2020-01-02"}]}]),
        (pa.array([datetime.time(1, 2, 3, 4)], pa.time64("us")), ["01:02:03.000004"]),
        (pa.array([3_723_000_000_005], pa.int64()).cast(pa.time64("ns")), ["01:02:03.000000005"]),
        (pa.array([1_500, 2_000], pa.duration("ms")), [1.5, 2]),
        (pa.array([b"\x00\xff", b""]), [b"\x00\xff", b""]),
        (pa.array([("k", 1)], pa.struct([("key", pa.string()), ("n", pa.int8())])), [{"key": "k", "n": 1}]),
        (pa.array([[("a", 1), ("b", None)]], pa.map_(pa.string(), pa.int32())), [{"a": 1, "b": None}]),
        (pa.array([[(1, "x")]], pa.map_(pa.int32(), pa.string())), [[[1, "x"]]]),
        (pa.array(["x", None, "x"]).dictionary_encode(), ["x", None, "x"]),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
        (pa.array([0.5], pa.float16()), [0.5]),
        (pa.array([1_577_934_245], pa.timestamp("s", "Europe/Berlin")), ["2020-01-02T04:04:05+01:00"]),
        (pa.array([1_577_934_245], pa.timestamp("s", "+05:30")), ["2020-01-02T08:34:05+05:30"]),
        (pa.array([1_577_934_245], pa.timestamp("s", "Nowhere/Town")), ["2020-01-02T03:04:05+00:00"]),
        (pa.array([1_577_934_245_000_000_001], pa.timestamp("ns")), ["2020-01-02T03:04:05.000000001"]),
        (pa.array([None, None]), [None, None]),
        (pa.array([True, False]), [True, False]),
    ],
)
def test_what_a_column_is_in_json(column: pa.Array, values: list[Any]):
    assert column_values(column) == values


def test_binary_becomes_base64_and_nan_becomes_null_in_a_payload():
    values = {"id": 1, "text": "x", "raw": b"\x00\xff", "deep": [{"n": math.nan}], "big": math.inf, "n": 1.5}
    record = Fields().record(values)
    assert record.payload == {"raw": "AP8=", "deep": [{"n": None}], "big": None, "n": 1.5}
    assert record.nulls == ("deep", "big")


def test_a_payload_without_a_form_in_json_names_its_field():
    deep: Any = "x"
    for _ in range(101):
        deep = [deep]
    for value, reason in [
        (deep, "field 'n' is nested too deeply: more than 100 levels"),
        ({"a": "\udcff"}, "field 'n' is not valid Unicode"),
        ({"\udcff": 1}, "field 'n' is not valid Unicode"),
        ([1j], "field 'n' has no form in JSON: it holds complex"),
    ]:
        with pytest.raises(BadRecord) as bad:
            Fields().record({"id": 1, "text": "x", "n": value})
        assert (bad.value.id, bad.value.reason) == ("1", reason)
        assert Fields(keep=()).record({"id": 1, "text": "x", "n": value}).payload == {}
    assert Fields().record({"id": 1, "text": "x", "n": deep[0]}).payload == {"n": deep[0]}


def test_texts_and_ids_are_not_made_of_binary():
    with pytest.raises(BadRecord, match="field 'text' is not text: b'x'"):
        Fields().record({"id": 1, "text": b"x"})
    with pytest.raises(BadRecord, match="field 'id' is not a valid id: b'x'"):
        Fields().record({"id": b"x", "text": "t"})


@given(st.datetimes(), st.sampled_from(["s", "ms", "us", "ns"]), st.sampled_from([None, "UTC", "Asia/Kolkata", "-03:00"]))
def test_any_moment_is_the_iso_form_of_python(moment: datetime.datetime, unit: str, zone: str | None):
    parts = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    since = moment - datetime.datetime(1970, 1, 1)
    count = (since // datetime.timedelta(microseconds=1)) * parts // 10**6
    if not -(2**63) <= count < 2**63:
        return
    exact = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=count * 10**6 // parts)
    [value] = column_values(pa.array([count], pa.int64()).cast(pa.timestamp(unit, zone)))
    if zone is None:
        assert value == exact.isoformat()
        return
    known = {"UTC": datetime.UTC, "-03:00": datetime.timezone(-datetime.timedelta(hours=3))}
    try:
        expected = exact.replace(tzinfo=datetime.UTC).astimezone(known.get(zone) or ZoneInfo(zone)).isoformat()
    except OverflowError:
        assert isinstance(value, NoJsonForm)
        return
    assert value == expected


@given(st.integers(-(2**31), 2**31 - 1))
def test_any_date_is_its_iso_form_or_refused(days: int):
    [value] = column_values(pa.array([days], pa.int32()).cast(pa.date32()))
    try:
        assert value == (datetime.date(1970, 1, 1) + datetime.timedelta(days=days)).isoformat()
    except OverflowError:
        assert isinstance(value, NoJsonForm) and str(value) == DATE_LIMITS


@given(st.integers(0, 86_400 * 10**9 - 1))
def test_a_time_keeps_its_nanoseconds(nanoseconds: int):
    [value] = column_values(pa.array([nanoseconds], pa.int64()).cast(pa.time64("ns")))
    hours, minutes, seconds = (int(part[:2]) for part in value.split(":"))
    fraction = value.partition(".")[2].ljust(9, "0")
    assert ((hours * 60 + minutes) * 60 + seconds) * 10**9 + int(fraction) == nanoseconds


@given(st.integers(0, 86_400 * 10**3 - 1), st.sampled_from(["s", "ms"]))
def test_a_time_of_32_bits_is_the_iso_form_of_python(milliseconds: int, unit: str):
    count = milliseconds // (1000 if unit == "s" else 1)
    [value] = column_values(pa.array([count], pa.int32()).cast(pa.time32(unit)))
    since = datetime.timedelta(**{"seconds" if unit == "s" else "milliseconds": count})
    assert value == (datetime.datetime.min + since).time().isoformat()


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["s", "ms", "us", "ns"]))
def test_any_duration_keeps_its_digits(count: int, unit: str):
    [value] = column_values(pa.array([count], pa.int64()).cast(pa.duration(unit)))
    exact = Fraction(count, {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit])
    # As a program reads it that takes the shortest digits of a double, as JSON writers do.
    assert Fraction(value if isinstance(value, str) else repr(value)) == exact
    assert isinstance(value, str) <= (exact.denominator > 1 and len(str(abs(count))) > 15)


STRUCTS = st.fixed_dictionaries({"n": st.none() | st.integers(-(2**31), 2**31 - 1), "s": st.none() | st.text(max_size=5)})


@given(st.lists(STRUCTS))
def test_lists_of_structs_are_arrays_of_objects(values: list[dict[str, Any]]):
    kind = pa.list_(pa.struct([("n", pa.int32()), ("s", pa.string())]))
    assert column_values(pa.array([values, None], kind)) == [values, None]


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(-5, 5)), max_size=5))
def test_a_map_is_an_object_unless_a_value_would_be_lost(pairs: list[tuple[str, int]]):
    [value] = column_values(pa.array([pairs], pa.map_(pa.string(), pa.int32())))
    if len(dict(pairs)) == len(pairs):
        assert value == dict(pairs)
    else:
        assert isinstance(value, NoJsonForm) and str(value) == "a map with a key twice"


@given(st.binary(max_size=20), st.sampled_from([pa.binary(), pa.large_binary()]))
def test_any_binary_is_base64_in_a_payload(data: bytes, kind: pa.DataType):
    [value] = column_values(pa.array([data], kind))
    assert base64.b64decode(Fields().record({"id": 1, "text": "x", "raw": value}).payload["raw"]) == data


@given(st.integers(1, 38), st.integers(0, 38), st.integers())
def test_any_decimal_keeps_its_value(precision: int, scale: int, unscaled: int):
    scale = min(scale, precision)
    digits = unscaled % 10**precision
    number = decimal.Decimal(digits).scaleb(-scale, decimal.Context(prec=38))
    [value] = column_values(pa.array([number], pa.decimal128(precision, scale)))
    assert isinstance(value, str) == (precision > 15)
    assert decimal.Decimal(value if isinstance(value, str) else repr(value)) == number


@given(st.floats(), st.booleans())
def test_any_number_is_itself_or_null(number: float, nested: bool):
    record = Fields().record({"id": 1, "text": "x", "n": [number] if nested else number})
    expected = number if math.isfinite(number) else None
    assert record.payload == {"n": [expected] if nested else expected}
    assert record.nulls == (() if math.isfinite(number) else ("n",))
