"""The routing table that gateways watch: complete at every change, with a revision that grows."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence

from shoal.cluster.coordinator.concurrency.changes import Changes
from shoal.cluster.coordinator.fleet.pools import EncoderPools
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.coordinator.wire import process_message
from shoal.cluster.decisions.health.problems import Problem
from shoal.cluster.decisions.processes.liveness_events import LivenessState
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import status_pb2


class RoutingBoard:
    """Holds the newest routing message. Belongs to one event loop."""

    def __init__(self) -> None:
        self._newest = coordinator_pb2.WatchRoutingResponse()
        self._changes = Changes()

    def publish(self, message: coordinator_pb2.WatchRoutingResponse) -> None:
        """Makes `message` the newest, with the next revision, unless it equals the newest."""
        message.revision = self._newest.revision
        if message == self._newest:
            return
        message.revision += 1
        self._newest = message
        self._changes.announce()

    async def watch(self) -> AsyncIterator[coordinator_pb2.WatchRoutingResponse]:
        """The newest message now, and again after every change; a slow reader skips what it missed."""
        while True:
            change = self._changes.next
            yield self._newest
            await change.wait()


class RoutingPublisher:
    """Composes the routing message of one coordinator. Belongs to its event loop."""

    def __init__(
        self,
        board: RoutingBoard,
        myself: status_pb2.Process,
        epoch: int,
        supervisor: Supervisor,
        keeper: ShardKeeper,
        pools: EncoderPools,
        problems: Callable[[], Sequence[Problem]],
    ) -> None:
        """`myself` is the coordinator's own process. `problems` are those to show."""
        self._board = board
        self._myself = myself
        self._epoch = epoch
        self._supervisor = supervisor
        self._keeper = keeper
        self._pools = pools
        self._problems = problems

    def publish(self) -> None:
        """Publishes what has changed, and makes everything that waits for a change check again."""
        message = coordinator_pb2.WatchRoutingResponse(epoch=self._epoch)
        for shard in self._keeper.shards:
            for replica in self._keeper.serving(shard):
                message.shards.add(key=shard.id.key(), address=replica.shown_by[0], stats=replica.stats)
        message.processes.append(self._myself)
        for one in self._supervisor.processes:
            if one.member.kind == "encoder" and one.state is LivenessState.READY:
                message.encoders.add(
                    model=one.member.model, fingerprint=one.fingerprint, address=one.address, draining=one.draining
                )
            message.processes.append(process_message(one))
        message.pools.extend(self._pools.shown())
        for problem in self._problems():
            message.problems.add(part=problem.part, message=problem.message, since_ms=problem.since_ms)
        for (model, fingerprint), found in sorted(self._pools.outages().items()):
            message.outages.add(
                model=model, fingerprint=fingerprint, reason=found.reason, retry_after_ms=found.retry_after_ms
            )
        self._board.publish(message)
        self._supervisor.changes.announce()


def coordinator_process(address: str) -> status_pb2.Process:
    """This process, as `Status` shows it."""
    return status_pb2.Process(
        kind=status_pb2.PROCESS_KIND_COORDINATOR,
        name="coordinator",
        address=address,
        state=status_pb2.PROCESS_STATE_READY,
        pid=os.getpid(),
    )
