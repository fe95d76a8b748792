"""The real data that some tests read; it lies next to the repository and is not part of it."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared_data(name: str) -> Path:
    """The file or folder `name` of the shared data; skips the calling test where it is absent."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"the shared data has no {name} (looked in {SHARED_DATA})")
    return path
