from __future__ import annotations

import pytest

pytest.importorskip("ray")

from shoal.workers.encoding.replica.actor import granted_device


@pytest.mark.parametrize(
    ("accelerators", "device"), [({}, "cpu"), ({"GPU": []}, "cpu"), ({"GPU": ["1"]}, None), ({"TPU": ["0"]}, "cpu")]
)
def test_only_an_encoder_with_a_share_of_a_gpu_uses_one(accelerators: dict[str, list[str]], device: str | None) -> None:
    assert granted_device(accelerators) == device
