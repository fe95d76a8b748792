"""Chooses the device: the kernels on the CPU, or torch on a CUDA device. Imports torch only if CUDA is requested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.settings import Word2VecSettings

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
DEVICES = (AUTO, CPU, CUDA)


@dataclass(frozen=True, slots=True)
class TrainingDevice:
    """Where a training runs."""

    name: str
    """`cpu` or `cuda`."""
    reason: str
    """Why this device was chosen, for users of `auto`."""


def missing_cuda() -> str:
    """Why torch cannot train on a CUDA device here; empty if it can."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return ""


def training_device(wanted: str, settings: Word2VecSettings, missing: Callable[[], str] = missing_cuda) -> TrainingDevice:
    """The device for `wanted`, one of `DEVICES`. Raises TrainingError when `cuda` is wanted and not available."""
    if wanted not in DEVICES:
        raise TrainingError(f"device is {wanted!r}, must be one of {', '.join(DEVICES)}")
    if wanted == CPU:
        return TrainingDevice(CPU, "as requested")
    lack = "exact is set, whose updates are sequential" if settings.exact else missing()
    if not lack:
        return TrainingDevice(CUDA, "a CUDA device is available")
    if wanted == CUDA:
        raise TrainingError(f"device is 'cuda', but {lack}; use device 'cpu'")
    return TrainingDevice(CPU, lack)
