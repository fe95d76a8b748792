"""From a folder of weights to the network that computes them best on this machine."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from shoal.workers.encoding.encoder_weights import EncoderWeights, encoder_weights
from shoal.workers.encoding.flat_network import FlatNetwork, can_be_flat
from shoal.workers.encoding.model import Vectors
from shoal.workers.encoding.network import Network
from shoal.workers.encoding.padded_network import PaddedNetwork
from shoal.workers.encoding.precision import Chosen, Precision, choose, cpu_flags, faster_precisions
from shoal.workers.encoding.pretrained import load_pretrained

TYPES = {Precision.FLOAT32: torch.float32, Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}


def build_network(
    folder: Path,
    name: str,
    device: torch.device,
    wanted: Precision | None,
    threads: int,
    probe: Callable[[Network], Vectors],
) -> Chosen[Network]:
    """The network of the weights in `folder`, flat where its architecture is known, else padded.

    `wanted` None takes the fastest type that the device has. `probe` gives the vectors of the probe texts: a type other
    than float32 must come close to that, or float32 it is. Raises ModelError when the weights cannot be loaded.
    """
    loaded: Any = load_pretrained(folder, name, torch.float32)
    weights = encoder_weights(loaded)
    if wanted is None:
        capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)
        candidates = faster_precisions(device.type, capability, cpu_flags())
    else:
        candidates = [wanted]
    if candidates == [Precision.FLOAT32] or not candidates:
        return Chosen(_build(loaded, weights, device, Precision.FLOAT32, threads), Precision.FLOAT32, "")

    def build(precision: Precision) -> Network:
        return _build(loaded, weights, device, precision, threads)

    reference = probe(build(Precision.FLOAT32))
    return choose([one for one in candidates if one is not Precision.FLOAT32], build, probe, reference)


def _build(loaded: Any, weights: EncoderWeights | None, device: torch.device, precision: Precision, threads: int) -> Network:
    kind = TYPES[precision]
    if weights is not None and can_be_flat(weights, device, kind):
        return FlatNetwork(weights, device, kind, threads)
    # A model is moved in place, and a later attempt may need it as it was.
    return PaddedNetwork(loaded if kind is torch.float32 else deepcopy(loaded), device, kind, threads)
