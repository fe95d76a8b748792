"""What happens when Ray does not start. `ray.init` is replaced here; the integration tests start a real Ray."""

from __future__ import annotations

import pytest

ray = pytest.importorskip("ray")

from shoal.cluster.ray_runtime import session  # noqa: E402
from shoal.cluster.ray_runtime.session import RayUnavailable, connect_ray, joined_ray  # noqa: E402

STILLBORN = "The current node timed out during startup. This could happen because ..."


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Exception | None]:
    """The results of the starts, in reverse order."""
    left: list[Exception | None] = []

    def init(**_: object) -> None:
        if (error := left.pop()) is not None:
            raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return left


def test_a_failed_start_of_ray_is_repeated_once(starts: list[Exception | None]) -> None:
    starts += [None, Exception(STILLBORN)]
    with joined_ray(1):
        pass
    assert not starts


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ([Exception(STILLBORN), Exception(STILLBORN)], "timed out during startup"),
        ([None, Exception("no room\nat all")], "started or joined: no room$"),
        ([None, ValueError("no such port")], "started or joined: no such port$"),
    ],
)
def test_a_ray_that_cannot_be_started_is_reported_in_one_line(
    starts: list[Exception | None], errors: list[Exception | None], message: str
) -> None:
    starts += errors
    with pytest.raises(RayUnavailable, match=message) as caught, joined_ray(1):
        pass
    assert "\n" not in str(caught.value)


def test_a_ray_without_its_private_switch_is_used_anyway(
    starts: list[Exception | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private import worker

    monkeypatch.delattr(worker, "_worker_logs_enabled")
    starts += [None]
    with joined_ray(1):
        assert not hasattr(worker, "_worker_logs_enabled")


@pytest.mark.parametrize("submitted", ["", '{"runtime_env": {"py_modules": ["theirs"]}}'])
def test_code_is_sent_to_a_cluster_unless_its_job_says_what_to_send(monkeypatch: pytest.MonkeyPatch, submitted: str) -> None:
    options: dict[str, object] = {}
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    monkeypatch.setattr(ray, "init", lambda **given: options.update(given))
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if submitted:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", submitted)
    connect_ray(1, namespace="mine")
    assert options["namespace"] == "mine" and "address" not in options
    assert options["runtime_env"] == ({} if submitted else {"py_modules": list(session.shoal.__path__)})
