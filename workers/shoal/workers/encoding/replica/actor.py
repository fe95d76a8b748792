"""The Ray actor of one encoder replica: it starts the engine and its gRPC server, and returns their address.

The constructor imports them: the coordinator needs only the class, and starts sooner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import ray
import ray.util

from shoal.workers.runtime import (
    InternalCredentials,
    InternalServer,
    freeze_live_objects,
    limit_tokenizer_threads,
    threads_of,
)

if TYPE_CHECKING:
    from shoal.workers.encoding.engine.engine import Progress
    from shoal.workers.encoding.model import EmbeddingModel


def granted_device(accelerators: Mapping[str, Sequence[str]]) -> str | None:
    """The device for `load_model` in an actor that was granted `accelerators` by Ray; None picks the GPU.

    Ray does not hide GPUs from an actor that requested none.
    """
    return None if accelerators.get("GPU") else "cpu"


@ray.remote
class EncoderActor:
    """Holds one model. Create it through `options`, with one CPU for each of its threads.

    The model runs in threads of the engine, so all methods return at once; only `stop` waits.
    """

    def __init__(self, model: str, credentials: InternalCredentials, threads: int, sharers: int = 1) -> None:
        """Serves at once, while `model` loads; DescribeModel reports a model that cannot be loaded.

        `threads` 0 means the cores of the machine, divided by `sharers`, the number of replicas on it.
        """
        from shoal.workers.encoding.engine.engine import EncoderEngine
        from shoal.workers.encoding.loading.loading import load_model
        from shoal.workers.encoding.replica.process_end import end_process
        from shoal.workers.encoding.replica.service import EncoderService

        threads = threads_of(threads, sharers)
        limit_tokenizer_threads(threads)
        device = granted_device(ray.get_runtime_context().get_accelerator_ids())

        def load(progress: Progress) -> EmbeddingModel:
            loaded = load_model(model, threads, progress=progress, device=device)
            freeze_live_objects()
            return loaded

        self._engine = EncoderEngine(model, load, tokenizer_threads=max(1, threads // 4), on_lost=end_process)
        service = EncoderService(self._engine)
        self._server = InternalServer(service.register, credentials, host=ray.util.get_node_ip_address())
        self._address = self._server.start()
        self._engine.start()

    @ray.method
    def address(self) -> str:
        """`host:port` of the gRPC service."""
        return self._address

    @ray.method
    def pid(self) -> int:
        """Process id of this actor."""
        return os.getpid()

    @ray.method
    def stop(self) -> None:
        """Stops the service: calls in flight have a second to finish, waiting ones fail with UNAVAILABLE."""
        self._server.stop()
        self._engine.close()
