"""An encoder that can be broken by a text, installed in the workers of a Ray session: see `install`."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shoal.workers.encoding.engine import engine, inference_threads
from shoal.workers.encoding.engine.watchdog import StallLimits
from shoal.workers.encoding.loading import loading
from shoal.workers.encoding.model import DeviceLost, EmbeddingModel, Tokenized, Vectors
from shoal.workers.encoding.static.hashing_model import HashingModel

ONCE = "SHOAL_TEST_HESITATED"
"""Names a file that exists once a process has hesitated."""


class BreakingModel(HashingModel):
    """Loses its device on the word "lost"; never ends on "stuck", nor the first time on "hesitant"."""

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        """See `EmbeddingModel.forward`."""
        words = {word for text in batch for word in text.content}
        if "lost" in words:
            raise DeviceLost(self.name, "the GPU no longer answers")
        if "stuck" in words or ("hesitant" in words and _first_time()):
            threading.Event().wait()
        return super().forward(batch)


@contextmanager
def breaking_session(**variables: str) -> Iterator[None]:
    """A private Ray whose workers have it installed, and these variables in their environment."""
    # Here, since workers load this module and need neither.
    import pytest
    import ray

    breaking = {
        "worker_process_setup_hook": "support.models.breaking_encoder.install",
        "env_vars": {"PYTHONPATH": os.pathsep.join(sys.path), **variables},
    }
    with pytest.MonkeyPatch.context() as patch:
        # A process keeps the mode that its first Ray had; all tests that start one in this process name the same.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            runtime_env=breaking,
        )
        yield
        ray.shutdown()


def _first_time() -> bool:
    try:
        Path(os.environ[ONCE]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _load_model(
    model: str,
    threads: int,
    precision: object = None,
    progress: Callable[[str], None] = lambda _: None,
    device: str | None = None,
) -> EmbeddingModel:
    loaded = BreakingModel(64, name=model)
    # Its arguments, for tests to check.
    loaded.device = str(device)
    return loaded


def install() -> None:
    """Runs in a worker process before an actor is created: its models can break, and its watchdogs have short limits."""
    loading.load_model = _load_model
    impatient = StallLimits(seconds=0.5, times=2)
    engine.EncoderEngine = functools.partial(engine.EncoderEngine, stall_limits=impatient)
    inference_threads.BULK_STALL_LIMITS = impatient
