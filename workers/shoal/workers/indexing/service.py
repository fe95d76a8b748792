"""IndexService over a ShardHost: deadlines, threads and status codes. The logic of shards is in host.py."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio

from shoal.internal.v1 import index_pb2 as pb
from shoal.internal.v1 import index_pb2_grpc
from shoal.workers.indexing import messages
from shoal.workers.indexing.host import ShardHost, StaleEpoch, UnknownShard

LONGEST_WAIT_S = 30.0
"""How long a search waits for a segment when its caller set no deadline."""

T = TypeVar("T")


class IndexServicer(index_pb2_grpc.IndexServiceServicer):
    """Searches run on `threads` threads; as many others stage and sync, so that no search waits behind a sync.

    Statuses: NOT_FOUND for a shard that is not open, INVALID_ARGUMENT for bad input, FAILED_PRECONDITION for a stale
    epoch, DEADLINE_EXCEEDED for a segment that did not arrive in time, UNAVAILABLE when storage fails.
    """

    def __init__(self, host: ShardHost, threads: int) -> None:
        self._host = host
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="shoal-search")
        self._writers = ThreadPoolExecutor(threads, thread_name_prefix="shoal-sync")

    def register(self, server: grpc.aio.Server) -> None:
        """Adds this service to a server."""
        index_pb2_grpc.add_IndexServiceServicer_to_server(self, server)

    def close(self) -> None:
        """Drops queued work and waits for running work. Call it after the server has stopped."""
        for pool in (self._readers, self._writers):
            pool.shutdown(wait=True, cancel_futures=True)

    async def Stage(self, request: pb.StageRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.StageResponse:
        def work() -> pb.StageResponse:
            spec = messages.spec_of(request.spec)
            rows = messages.rows_of(request.rows, spec.dimension)
            segment = self._host.stage(request.epoch, messages.key_of(request.key), spec, request.ordinal, rows)
            return pb.StageResponse(segment=messages.segment_message(segment))

        return await _answer(self._writers, work, context)

    async def Sync(self, request: pb.SyncRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.SyncResponse:
        def work() -> pb.SyncResponse:
            outcome = self._host.sync(request.epoch, messages.manifest_of(request.manifest))
            return pb.SyncResponse(
                stats=messages.stats_message(messages.key_of(request.manifest.key), outcome.stats),
                damaged_ordinals=outcome.damaged_ordinals,
                sealed_damaged=outcome.sealed_damaged,
            )

        return await _answer(self._writers, work, context)

    async def SearchShard(
        self, request: pb.SearchShardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SearchShardResponse:
        query = request.query
        key = messages.key_of(query.key)
        await self._reach(key, query.min_ordinal, context)

        def work() -> pb.SearchShardResponse:
            queries = messages.matrix_of(query.vectors, self._host.spec(key).dimension, "query.vectors")
            return pb.SearchShardResponse(hits=messages.hits_message(self._host.search(key, queries, query.k)))

        return await _answer(self._readers, work, context)

    async def Lookup(self, request: pb.LookupRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.LookupResponse:
        key = messages.key_of(request.key)
        if request.min_ordinal:
            await self._reach(key, request.min_ordinal, context)

        def work() -> pb.LookupResponse:
            if not request.include_vectors:
                return pb.LookupResponse(versions=self._host.lookup(key, request.ids))
            versions, vectors = self._host.vectors(key, request.ids)
            return pb.LookupResponse(versions=versions, vectors=vectors)

        return await _answer(self._readers, work, context)

    async def Release(self, request: pb.ReleaseRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.ReleaseResponse:
        def work() -> pb.ReleaseResponse:
            self._host.release(request.epoch, messages.key_of(request.key))
            return pb.ReleaseResponse()

        return await _answer(self._writers, work, context)

    async def DescribeShards(
        self, request: pb.DescribeShardsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DescribeShardsResponse:
        def work() -> pb.DescribeShardsResponse:
            states = [messages.stats_message(key, stats) for key, stats in self._host.describe()]
            return pb.DescribeShardsResponse(shards=states, pid=os.getpid())

        return await _answer(self._readers, work, context)

    async def _reach(self, key: tuple[int, int], ordinal: int, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Waits, without a thread, until searches of a shard see segment `ordinal`; aborts the call at its deadline."""
        left = context.time_remaining()
        patience = LONGEST_WAIT_S if left is None else left
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._host.reached(key, ordinal)), patience)
        except UnknownShard as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except TimeoutError:
            message = f"shard {key[0]}/{key[1]} did not reach segment {ordinal} within {patience:.3f} s"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, message)


async def _answer(pool: Executor, work: Callable[[], T], context: grpc.aio.ServicerContext[Any, Any]) -> T:
    """The result of `work` on a thread of `pool`, or the call aborted with the status of its error.

    A call that is cancelled or passes its deadline while it waits for a thread is never run.
    """
    left = context.time_remaining()
    deadline = math.inf if left is None else time.monotonic() + left

    def work_in_time() -> T:
        # A thread may become free before the cancellation of an expired call arrives.
        if time.monotonic() >= deadline:
            raise TimeoutError
        return work()

    try:
        return await asyncio.get_running_loop().run_in_executor(pool, work_in_time)
    except TimeoutError:
        code, message = grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before a thread was free"
    except UnknownShard as error:
        code, message = grpc.StatusCode.NOT_FOUND, str(error)
    except StaleEpoch as error:
        code, message = grpc.StatusCode.FAILED_PRECONDITION, str(error)
    except ValueError as error:
        code, message = grpc.StatusCode.INVALID_ARGUMENT, str(error)
    except OSError as error:
        code, message = grpc.StatusCode.UNAVAILABLE, f"storage: {error}"
    return await _abort(context, code, message)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(code, message)
    raise AssertionError("abort returned")
