"""Which device is used for a request."""

from __future__ import annotations

import sys

import pytest

from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learners.training_device import (
    AUTO,
    CPU,
    CUDA,
    TrainingDevice,
    missing_cuda,
    training_device,
)
from shoal.workers.training.word2vec.settings import Word2VecSettings

PLAIN, EXACT = Word2VecSettings(), Word2VecSettings(exact=True)


def nothing() -> str:
    return ""


def no_card() -> str:
    return "torch finds no CUDA device"


def not_asked() -> str:
    raise AssertionError("this must not be called")


def test_auto_uses_a_cuda_device_or_else_the_cpu_and_says_why() -> None:
    assert training_device(AUTO, PLAIN, nothing) == TrainingDevice(CUDA, "a CUDA device is available")
    assert training_device(AUTO, PLAIN, no_card) == TrainingDevice(CPU, "torch finds no CUDA device")


def test_the_requested_device_is_used() -> None:
    assert training_device(CUDA, PLAIN, nothing).name == CUDA
    # torch takes seconds to import, which the CPU's kernels do without.
    assert training_device(CPU, PLAIN, not_asked).name == CPU


def test_an_unavailable_device_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"^device is 'cuda', but torch finds no CUDA device; use device 'cpu'$"):
        training_device(CUDA, PLAIN, no_card)
    with pytest.raises(TrainingError, match=r"^device is 'tpu', must be one of auto, cpu, cuda$"):
        training_device("tpu", PLAIN, nothing)


def test_exact_updates_need_the_cpu() -> None:
    assert training_device(AUTO, EXACT, nothing).name == CPU
    assert "exact is set" in training_device(AUTO, EXACT, nothing).reason
    with pytest.raises(TrainingError, match=r"^device is 'cuda', but exact is set"):
        training_device(CUDA, EXACT, nothing)


def test_a_missing_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert missing_cuda() == "torch is not installed"
