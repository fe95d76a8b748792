"""Reads the JSON files of models, in which some tools write whole numbers as 512.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeGuard


def read_json(file: Path) -> Any:
    """The value in a JSON file; a float without a fraction, such as 512.0 or 1e3, is read as an int.

    Raises OSError when the file cannot be read and ValueError when it is not JSON in UTF-8.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_float=lambda digits: whole(float(digits)))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def whole(value: Any) -> Any:
    """A float without a fraction as an int; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_count(value: Any, least: int = 1) -> TypeGuard[int]:
    """Whether a value is an integer of at least `least`; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
