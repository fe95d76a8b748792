"""Values of Parquet columns in the form that they have in JSON; docs/files.md lists it. Needs pyarrow."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from pyarrow import types as arrow

EXACT_DIGITS = 15
"""A number of more digits may not survive as a number of JSON, which most programs read as a double."""
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = datetime(1970, 1, 1)


class NoJsonForm(ValueError):
    """A value has no form in JSON; the message says what it is."""


def column_values(column: pa.Array) -> list[Any]:
    """The values of a column; in place of one that has no form in JSON, a NoJsonForm. Binary values stay bytes."""
    if _is_plain(column.type):
        try:
            return column.to_pylist()
        except ValueError:
            # Text that is not UTF-8; cell by cell it shows which.
            pass
    return [_value_or_error(cell) for cell in column]


def _value_or_error(cell: pa.Scalar) -> Any:
    try:
        return json_form(cell)
    except NoJsonForm as error:
        return error


def _is_plain(kind: pa.DataType) -> bool:
    if _is_list(kind):
        return _is_plain(kind.value_type)
    if arrow.is_floating(kind):
        # Half floats came as numpy's from older versions.
        return not arrow.is_float16(kind)
    return _is_text(kind) or arrow.is_integer(kind) or arrow.is_boolean(kind)


def _is_text(kind: pa.DataType) -> bool:
    return arrow.is_string(kind) or arrow.is_large_string(kind) or arrow.is_string_view(kind)


def _is_binary(kind: pa.DataType) -> bool:
    some = (arrow.is_binary, arrow.is_large_binary, arrow.is_fixed_size_binary, arrow.is_binary_view)
    return any(fits(kind) for fits in some)


def _is_list(kind: pa.DataType) -> bool:
    some = (arrow.is_list, arrow.is_large_list, arrow.is_fixed_size_list, arrow.is_list_view, arrow.is_large_list_view)
    return any(fits(kind) for fits in some)


def json_form(cell: Any) -> Any:
    """A scalar of Arrow in the form of JSON; raises NoJsonForm when it has none."""
    if not cell.is_valid:
        return None
    kind = cell.type
    form = next((form for fits, form in _FORMS if fits(kind)), None)
    if form is None:
        raise NoJsonForm(f"what has no form in JSON: {kind}")
    return form(cell)


def _text(cell: Any) -> str:
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        raise NoJsonForm(f"bytes that are not UTF-8: {error.object[error.start]:#04x} at {error.start}") from None


def _decimal(cell: Any) -> int | float | str:
    value, kind = cell.as_py(), cell.type
    if kind.precision > EXACT_DIGITS:
        return format(value, "f")
    return int(value) if kind.scale <= 0 else float(value)


def _date(cell: Any) -> str:
    days = cell.value if arrow.is_date32(cell.type) else cell.value // 86_400_000
    return _moment(lambda: date(1970, 1, 1) + timedelta(days=days))


def _timestamp(cell: Any) -> str:
    seconds, parts = divmod(cell.value, _PER_SECOND[cell.type.unit])
    nanoseconds = parts * (10**9 // _PER_SECOND[cell.type.unit])
    zone = _zone(cell.type.tz)

    def moment() -> datetime:
        when = _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
        return when if zone is None else when.replace(tzinfo=UTC).astimezone(zone)

    return _with_nanoseconds(_moment(moment), nanoseconds)


def _time(cell: Any) -> str:
    seconds, parts = divmod(cell.value, _PER_SECOND[cell.type.unit])
    nanoseconds = parts * (10**9 // _PER_SECOND[cell.type.unit])
    when = _moment(lambda: _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000))
    return _with_nanoseconds(when.removeprefix("1970-01-01T"), nanoseconds)


def _duration(cell: Any) -> int | float | str:
    seconds, parts = divmod(cell.value, _PER_SECOND[cell.type.unit])
    if not parts:
        return seconds
    exact = Decimal(cell.value) / _PER_SECOND[cell.type.unit]
    return format(exact, "f") if len(exact.as_tuple().digits) > EXACT_DIGITS else float(exact)


def _moment(of: Callable[[], date]) -> str:
    try:
        return of().isoformat()
    except (OverflowError, ValueError):
        raise NoJsonForm("a date beyond the years 1 to 9999") from None


def _with_nanoseconds(text: str, nanoseconds: int) -> str:
    """ISO 8601 with as many digits of a second as are needed: none, six or nine."""
    micro, nano = divmod(nanoseconds, 1000)
    if not nano:
        return text
    # Seconds end in column 19 of a date with time, in column 8 of a time.
    end = 19 if "T" in text else 8
    return f"{text[:end]}.{micro:06d}{nano:03d}{text[end + 7 if micro else end :]}"


def _zone(name: str | None) -> timezone | ZoneInfo | None:
    """The zone of a column; one that is not known here is shown in UTC, which is the same moment."""
    if name is None:
        return None
    try:
        if name[:1] in "+-":
            return datetime.strptime(name, "%z").tzinfo  # type: ignore[return-value]
        return UTC if name.upper() in ("UTC", "Z") else ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return UTC


def _list(cell: Any) -> list[Any]:
    return [json_form(item) for item in cell.values]


def _struct(cell: Any) -> dict[str, Any]:
    names = [cell.type.field(index).name for index in range(cell.type.num_fields)]
    if len(set(names)) < len(names):
        raise NoJsonForm("a struct with two fields of one name")
    return {name: json_form(cell[index]) for index, name in enumerate(names)}


def _map(cell: Any) -> dict[str, Any] | list[Any]:
    pairs = [(json_form(pair[0]), json_form(pair[1])) for pair in cell.values]
    if not all(isinstance(key, str) for key, _ in pairs):
        return [list(pair) for pair in pairs]
    values = dict(pairs)
    if len(values) < len(pairs):
        raise NoJsonForm("a map with a key twice")
    return values


def _extension(cell: Any) -> Any:
    storage = cell.value
    if cell.type.extension_name == "arrow.uuid":
        return str(uuid.UUID(bytes=storage.as_py()))
    return json_form(storage)


_Form = Callable[[Any], Any]
_FORMS: tuple[tuple[Callable[[pa.DataType], bool], _Form], ...] = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), _extension),
    (_is_text, _text),
    (lambda kind: arrow.is_null(kind) or arrow.is_boolean(kind) or arrow.is_integer(kind), lambda cell: cell.as_py()),
    (arrow.is_floating, lambda cell: float(cell.as_py())),
    (arrow.is_decimal, _decimal),
    (arrow.is_date, _date),
    (arrow.is_timestamp, _timestamp),
    (arrow.is_time, _time),
    (arrow.is_duration, _duration),
    (_is_binary, lambda cell: cell.as_py()),
    (arrow.is_dictionary, lambda cell: json_form(cell.value)),
    (arrow.is_map, _map),
    (arrow.is_struct, _struct),
    (_is_list, _list),
)
