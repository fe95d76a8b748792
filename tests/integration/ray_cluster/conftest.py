"""The Ray cluster that the tests of this folder share; it ends after the last of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ray_head import RayHead


@pytest.fixture(scope="package")
def head() -> Iterator[RayHead]:
    running = RayHead()
    try:
        yield running
    finally:
        running.close()
