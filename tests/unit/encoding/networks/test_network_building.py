"""Which network a folder becomes on a GPU, with fakes for everything that needs one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from shoal.workers.encoding.networks import network_building  # noqa: E402
from shoal.workers.encoding.networks.network_building import build_network  # noqa: E402
from shoal.workers.encoding.networks.precision import Precision  # noqa: E402


@pytest.mark.parametrize(
    ("activation", "ending"), [("gelu", "; padded: there is no kernel for heads of size 20"), ("strange", "")]
)
def test_an_encoder_that_is_padded_though_it_could_be_unpadded_says_why(
    activation: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Precision] = []

    def build(_loaded: Any, _weights: Any, _device: Any, precision: Precision, _threads: int) -> Any:
        built.append(precision)
        return precision

    monkeypatch.setattr(network_building, "load_pretrained", lambda *_: None)
    monkeypatch.setattr(network_building, "encoder_weights", lambda _: SimpleNamespace(activation=activation))
    monkeypatch.setattr(network_building, "_build", build)
    monkeypatch.setattr(network_building, "varlen_reason", lambda *_: "there is no kernel for heads of size 20")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    chosen = build_network(Path(), "m", torch.device("cuda", 0), None, 1, lambda _: np.ones((2, 4), dtype=np.float32))
    assert (chosen.precision, built) == (Precision.BFLOAT16, [Precision.FLOAT32, Precision.BFLOAT16])
    assert chosen.note == "cosine to float32 at least 1.0" + ending
