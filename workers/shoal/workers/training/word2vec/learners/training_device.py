"""Which device trains: the CPU's kernels or torch on a CUDA device. torch is imported here only when it is asked for."""

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
    """Why there, in a few words for whoever asked for `auto`."""


def missing_cuda() -> str:
    """Why torch cannot train on a CUDA device here; empty where it can."""
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
    """The device for `wanted`, one of `DEVICES`. Raises TrainingError when `cuda` is wanted and cannot be had."""
    if wanted not in DEVICES:
        raise TrainingError(f"device is {wanted!r}, allowed are {', '.join(DEVICES)}")
    if wanted == CPU:
        return TrainingDevice(CPU, "as was asked for")
    lack = "exact is set, and its updates follow one upon another" if settings.exact else missing()
    if not lack:
        return TrainingDevice(CUDA, "a CUDA device is here")
    if wanted == CUDA:
        raise TrainingError(f"device is 'cuda', but {lack}; the CPU does the same with device 'cpu'")
    return TrainingDevice(CPU, lack)
