"""Builds the fastest network for a folder of weights on this machine."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import torch

from shoal.workers.encoding.model import ModelError, Vectors
from shoal.workers.encoding.networks.cuda_network import CudaNetwork, varlen_reason
from shoal.workers.encoding.networks.encoder_weights import EncoderWeights, encoder_weights
from shoal.workers.encoding.networks.linear import ACTIVATIONS
from shoal.workers.encoding.networks.network import Network
from shoal.workers.encoding.networks.padded_network import PaddedNetwork
from shoal.workers.encoding.networks.precision import (
    Chosen,
    Precision,
    choose,
    cpu_flags,
    faster_precisions,
    least_cosine,
    shown,
)
from shoal.workers.encoding.networks.pretrained import load_pretrained
from shoal.workers.encoding.networks.unpadded_network import UnpaddedNetwork

TYPES = {Precision.FLOAT32: torch.float32, Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}


def build_network(
    folder: Path,
    name: str,
    device: torch.device,
    wanted: Precision | None,
    threads: int,
    probe: Callable[[Network], Vectors],
) -> Chosen[Network]:
    """The network for the weights in `folder`: unpadded if its architecture is supported, else padded.

    `wanted` None takes the fastest number type of the device. `probe` computes the vectors of the probe texts: a faster
    type is used only if its vectors are close to those of float32. Raises ModelError when the weights cannot be loaded.
    """
    loaded: Any = load_pretrained(folder, name, torch.float32)
    weights = encoder_weights(loaded)

    def build(precision: Precision) -> Network:
        return _build(loaded, weights, device, precision, threads)

    def reference() -> Vectors:
        return probe(build(Precision.FLOAT32))

    if wanted is Precision.INT8:
        return _build_int8(weights, name, device, threads, lambda network: least_cosine(probe(network), reference()))
    if wanted is None:
        capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)
        candidates = faster_precisions(device.type, capability, cpu_flags())
    else:
        candidates = [wanted]
    candidates = [one for one in candidates if one is not Precision.FLOAT32]
    if not candidates:
        return Chosen(build(Precision.FLOAT32), Precision.FLOAT32, "")
    chosen = choose(candidates, build, probe, reference())
    notes = [chosen.note]
    if isinstance(chosen.built, CudaNetwork):
        chosen.built.tune()
        notes += chosen.built.tuning
    elif device.type == "cuda" and _has_unpadded_form(weights):
        # Says why the faster network is not used, which this architecture leads users to expect.
        notes.append(f"padded: {varlen_reason(weights, device, TYPES[chosen.precision])}")
    return replace(chosen, note="; ".join(filter(None, notes)))


def _has_unpadded_form(weights: EncoderWeights | None) -> TypeGuard[EncoderWeights]:
    return weights is not None and weights.activation in ACTIVATIONS


def _build_int8(
    weights: EncoderWeights | None, name: str, device: torch.device, threads: int, cosine: Callable[[Network], float]
) -> Chosen[Network]:
    """No gate: int8 is an explicit choice of different vectors. The note states how close they are."""
    if not _has_unpadded_form(weights):
        raise ModelError(name, "int8 needs BERT, RoBERTa, DistilBERT, ModernBERT or NomicBERT; this is another architecture")
    if device.type != "cpu" or Precision.BFLOAT16 not in faster_precisions("cpu", (0, 0), cpu_flags()):
        raise ModelError(name, "int8 needs a CPU with bfloat16 instructions (AVX512-BF16 or AMX)")
    network = UnpaddedNetwork(weights, torch.bfloat16, threads, int8=True)
    return Chosen(network, Precision.INT8, f"cosine to float32 at least {shown(cosine(network))}")


def _build(loaded: Any, weights: EncoderWeights | None, device: torch.device, precision: Precision, threads: int) -> Network:
    kind = TYPES[precision]
    if _has_unpadded_form(weights):
        if device.type == "cpu" and kind is not torch.float16:
            return UnpaddedNetwork(weights, kind, threads)
        if device.type == "cuda" and not varlen_reason(weights, device, kind):
            return CudaNetwork(weights, device, kind)
    # A model is moved in place, and a later attempt may need the original.
    return PaddedNetwork(loaded if kind is torch.float32 else deepcopy(loaded), device, kind, threads)
