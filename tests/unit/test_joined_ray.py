"""What becomes of a Ray that does not start, by a stand-in for its start; real ones are in the integration tests."""

from __future__ import annotations

import pytest

ray = pytest.importorskip("ray")

from shoal.cluster.ray_runtime.session import RayUnavailable, joined_ray  # noqa: E402

STILLBORN = "The current node timed out during startup. This could happen because ..."


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Exception | None]:
    """What comes of each start, the next one last."""
    left: list[Exception | None] = []

    def init(**_: object) -> None:
        if (error := left.pop()) is not None:
            raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return left


def test_a_stillborn_ray_is_started_once_more(starts: list[Exception | None]) -> None:
    starts += [None, Exception(STILLBORN)]
    with joined_ray(1):
        pass
    assert not starts


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([Exception(STILLBORN), Exception(STILLBORN)], "timed out during startup"),
        ([None, Exception("no room\nat all")], "started or joined: no room$"),
        ([None, ValueError("no such port")], "started or joined: no such port$"),
    ],
)
def test_one_that_cannot_be_started_is_told_in_a_line(
    starts: list[Exception | None], errors: list[Exception | None], told: str
) -> None:
    starts += errors
    with pytest.raises(RayUnavailable, match=told) as caught, joined_ray(1):
        pass
    assert "\n" not in str(caught.value)
