"""What an encoder's actor makes of its share of a machine; all else of it runs on a real Ray in the integration tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

ray = pytest.importorskip("ray")

from shoal.workers.encoding import actor as actor_module  # noqa: E402
from shoal.workers.encoding.engine import EngineState  # noqa: E402
from shoal.workers.encoding.hashing_model import HashingModel  # noqa: E402
from shoal.workers.encoding.model import EmbeddingModel  # noqa: E402


@pytest.mark.parametrize(("granted", "device"), [([], "cpu"), (["1"], None)])
def test_only_who_was_given_a_share_of_a_gpu_uses_one(
    granted: list[str], device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    def load_model(model: str, threads: int, progress: Callable[[str], None], device: str | None) -> EmbeddingModel:
        told.append(device)
        return HashingModel(16, name=model)

    context = SimpleNamespace(get_accelerator_ids=lambda: {"GPU": granted})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setattr(actor_module, "load_model", load_model)
    monkeypatch.setattr(actor_module, "settle_memory", lambda: None)
    # As Ray makes it in the actor's process.
    made: Any = actor_module.EncoderActor
    encoder = made.__ray_metadata__.modified_class("hashing:16", "secret", 1)
    try:
        deadline = time.monotonic() + 60
        while encoder._engine.describe().state is EngineState.LOADING and time.monotonic() < deadline:
            time.sleep(0.01)
        assert encoder._engine.describe().state is EngineState.READY
    finally:
        encoder.stop()
    assert told == [device]
