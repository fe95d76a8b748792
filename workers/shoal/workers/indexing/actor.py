"""The Ray actor of an index worker: its process, its host and its gRPC server. The logic is in host.py and service.py."""

from __future__ import annotations

import os

import ray
import ray.util

from shoal.workers.indexing.files.storage import Storage
from shoal.workers.indexing.host import ShardHost
from shoal.workers.indexing.service import IndexServicer
from shoal.workers.runtime import InternalCredentials, InternalServer, freeze_live_objects, threads_of


@ray.remote
class IndexWorkerActor:
    """Starts without shards; the coordinator opens them through Sync."""

    def __init__(self, storage_root: str, credentials: InternalCredentials, threads: int) -> None:
        """Searches with `threads` threads; 0 means one per core of its machine."""
        self._servicer = IndexServicer(ShardHost(Storage(storage_root)), threads_of(threads))
        self._server = InternalServer(self._servicer.register, credentials, ray.util.get_node_ip_address())
        self._server.start()
        freeze_live_objects()

    @ray.method
    def address(self) -> str:
        """Where IndexService is served, host:port."""
        return self._server.address

    @ray.method
    def pid(self) -> int:
        """Process id of this worker."""
        return os.getpid()

    @ray.method
    def stop(self) -> None:
        """Waits for calls in flight, then stops serving."""
        self._server.stop()
        self._servicer.close()
