"""The Ray actor around one encoder replica: it starts the engine and its gRPC server, and says where they are."""

import os

import ray
import ray.util

from shoal.workers.encoding.engine import EncoderEngine
from shoal.workers.encoding.loading import load_model
from shoal.workers.encoding.service import EncoderService
from shoal.workers.serving import InternalServer


@ray.remote
class EncoderActor:
    """Holds one model. Create it through `options`, with as many CPUs as `threads`.

    The model works in a thread of the engine, so methods are answered at once whatever it does; only `stop` waits.
    """

    def __init__(self, model: str, secret: str, threads: int) -> None:
        """Serves at once and loads `model` meanwhile; a model that cannot be loaded shows in DescribeModel."""
        # Tokenizers run on a thread pool of their own, which would take every core of the node.
        os.environ["RAYON_NUM_THREADS"] = str(threads)
        self._engine = EncoderEngine(model, load=lambda: load_model(model, threads))
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
