"""The error of a training, and checks and messages that several modules share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.workers.runtime import error_line


class TrainingError(Exception):
    """A training cannot start or continue. The message is one line and names the wrong value and its limit."""


def check_range(field: str, value: float, least: float, most: float) -> None:
    """Raises TrainingError when `value` is not finite or not between `least` and `most`."""
    if not math.isfinite(value) or not least <= value <= most:
        raise TrainingError(f"{field} is {_shown(value)}, must be between {_shown(least)} and {_shown(most)}")


def diverged(first_rate: float) -> TrainingError:
    """The error of a training whose tables have infinite or undefined values; `first_rate` is its learning rate."""
    return TrainingError(f"the training diverged: learning_rate {first_rate:g} is too high")


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises an OSError of the block as a TrainingError: `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error_line(error)}") from error
