"""The Ray actor around one encoder replica: it starts the engine and its gRPC server, and says where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import ray
import ray.util

from shoal.workers.encoding.engine.engine import EncoderEngine, Progress
from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.model import EmbeddingModel
from shoal.workers.encoding.replica.process_end import end_process
from shoal.workers.encoding.replica.service import EncoderService
from shoal.workers.runtime.cores import limit_tokenizer_threads, threads_of
from shoal.workers.runtime.serving import InternalServer, settle_memory


def granted_device(accelerators: Mapping[str, Sequence[str]]) -> str | None:
    """What `load_model` is told by an actor to which Ray gave these: Ray hides no GPU from one that asked for none."""
    return None if accelerators.get("GPU") else "cpu"


@ray.remote
class EncoderActor:
    """Holds one model. Create it through `options`, with as many CPUs as it is to have threads.

    The model works in threads of the engine, so methods are answered at once whatever it does; only `stop` waits.
    """

    def __init__(self, model: str, secret: str, threads: int, sharers: int = 1) -> None:
        """Serves at once and loads `model` meanwhile; a model that cannot be loaded shows in DescribeModel.

        With `threads` 0 it has the cores of its machine, divided by so many `sharers`.
        """
        threads = threads_of(threads, sharers)
        limit_tokenizer_threads(threads)
        device = granted_device(ray.get_runtime_context().get_accelerator_ids())

        def load(progress: Progress) -> EmbeddingModel:
            loaded = load_model(model, threads, progress=progress, device=device)
            settle_memory()
            return loaded

        self._engine = EncoderEngine(model, load, readers=max(1, threads // 4), on_lost=end_process)
        service = EncoderService(self._engine)
        self._server = InternalServer(service.register, secret, host=ray.util.get_node_ip_address())
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
        """Ends the service: calls in flight have a second to finish, what waits is refused as UNAVAILABLE."""
        self._server.stop()
        self._engine.close()
