"""The replicas of each model: brought up, made more or fewer as scaling decides, emptied before they end.

Whether a replica answers is supervision's business; how many there should be is decided in scaling.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator

import grpc.aio

from shoal.cluster.coordinator.fleet.fleet import Fleet, FleetError, Member
from shoal.cluster.coordinator.fleet.models import (
    ENCODER_PREFIX,
    RetainedModels,
    encoder_member,
    is_replica_of,
    replica_number,
)
from shoal.cluster.coordinator.fleet.supervision import Supervisor, Watched
from shoal.cluster.decisions.scaling import PoolLoad, PoolState, Replica, ScalingPolicy, resize, scale
from shoal.cluster.errors import InvalidModel, Unavailable
from shoal.cluster.settings import EncoderSettings
from shoal.v1 import status_pb2

log = logging.getLogger(__name__)

LOOK_S = 1.0
DRAIN_LOOK_S = 0.25
DRAIN_LEAST_S = 1.0
"""A call that a gateway made just before it heard of the draining has arrived by then."""
DRAIN_MOST_S = 60.0
"""What has not been finished by then is taken over by other replicas."""
TOKENS_PER_TEXT = 100.0
"""Until a replica has measured it."""
BACKLOG_COUNTED = 1_000_000
ADOPTION_TRIES = 10
NO_ROOM_RETRY_MS = 1000


class EncoderPools:
    """Belongs to the coordinator's event loop; `look` must be called again and again."""

    def __init__(
        self,
        settings: EncoderSettings,
        supervisor: Supervisor,
        fleet: Fleet,
        used: Callable[[], Iterable[str]],
        backlog: Callable[[str, int], Awaitable[int]],
    ) -> None:
        """`used` gives the models of live generations; `backlog(model, limit)` counts documents that wait, up to a limit."""
        self._bounds = settings.pool
        self._policy = ScalingPolicy(settings.scale_up_s, settings.scale_down_s)
        self._supervisor = supervisor
        self._fleet = fleet
        self._used = used
        self._backlog = backlog
        self._retained = RetainedModels(settings.idle_s)
        self._asked: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._states: dict[str, PoolState] = {}
        self._refusals: Counter[str] = Counter()
        self._drains: dict[str, asyncio.Task[None]] = {}
        self._adoptions: set[asyncio.Task[None]] = set()

    async def adopt(self) -> None:
        """Takes in the replicas that an earlier coordinator left; they go on serving meanwhile."""
        try:
            names = await asyncio.to_thread(self._fleet.existing)
        except FleetError as error:
            log.warning("replicas that exist already cannot be listed: %s", error)
            return
        orphans = [name for name in names if name.startswith(ENCODER_PREFIX)]
        for model in self._wanted_models():
            for name in [name for name in orphans if is_replica_of(name, model)]:
                orphans.remove(name)
                self._supervisor.add(Member(name, "encoder", model))
            self._states[model] = self._begun(model)
        for name in orphans:
            task = asyncio.create_task(self._adopt(name), name=f"adopt {name}")
            self._adoptions.add(task)
            task.add_done_callback(self._adoptions.discard)

    async def ready(self, model: str) -> Watched:
        """A ready replica of the model, started if need be.

        Raises InvalidModel when it cannot be loaded, Unavailable while there are no resources for any replica.
        """
        self._asked[model] += 1
        try:
            await self._fill(model)
            await self._supervisor.wait_until(lambda: self._settled(model))
        finally:
            self._asked[model] -= 1
        replicas = self._replicas(model)
        for one in replicas:
            if one.ready:
                return one
        failed = [one for one in replicas if one.state == "failed"]
        if not failed:
            # It stays in line meanwhile, so that a cluster that can grow sees what is asked for.
            self._retained.use(model, time.monotonic())
            raise Unavailable(f"model {model!r} waits {replicas[0].detail}", retry_after_ms=NO_ROOM_RETRY_MS)
        # Nobody may be using it: the next one who names it starts afresh and gets today's answer.
        if model not in set(self._used()) and self._asked[model] <= 0:
            # Else the next look would start another in the place of the one that is being ended.
            self._retained.forget(model)
            self._states.pop(model, None)
            for one in self._supervisor.encoders(model):
                await self._supervisor.remove(one.member.name)
        raise InvalidModel(f"model {model!r}: {failed[0].detail}", field="model", value=model)

    async def retain(self, model: str) -> None:
        """Makes sure that a model is loaded, and keeps it so for a while; raises as `ready` does."""
        # Before, so that it goes on loading when the caller cannot wait for that, and after, however long it took.
        self._retained.use(model, time.monotonic())
        try:
            await self.ready(model)
            self._retained.use(model, time.monotonic())
        except InvalidModel:
            self._retained.forget(model)
            raise

    @contextlib.contextmanager
    def held(self, model: str) -> Iterator[None]:
        """Keeps a model meanwhile, though no generation uses it yet."""
        self._held[model] += 1
        try:
            yield
        finally:
            self._held[model] -= 1

    def refused(self, model: str) -> None:
        """A replica was full and refused a call."""
        self._refusals[model] += 1

    async def look(self) -> None:
        """Brings every pool to the size that its load asks for, and ends those that nobody wants any more."""
        models = self._wanted_models()
        for model in sorted(models):
            load = await self._load(model)
            self._states[model] = scale(self._state(model), load, self._bounds, self._policy, time.monotonic())
            await self._fill(model)
        for model in {one.member.model for one in self._supervisor.members if one.member.kind == "encoder"} - models:
            self._states.pop(model, None)
            for one in self._replicas(model):
                self._drain(one)

    def shown(self) -> list[status_pb2.Pool]:
        """The pools as people are told of them."""
        return [
            status_pb2.Pool(
                model=model,
                min_replicas=self._bounds.least,
                max_replicas=self._bounds.most,
                wanted=state.wanted,
                ready=sum(one.ready for one in self._replicas(model)),
            )
            for model, state in sorted(self._states.items())
        ]

    async def close(self) -> None:
        """Stops ending replicas; those that are being emptied are found again by the next coordinator."""
        tasks = [*self._drains.values(), *self._adoptions]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wanted_models(self) -> set[str]:
        return self._retained.wanted([*self._used(), *+self._asked, *+self._held], time.monotonic())

    def _state(self, model: str) -> PoolState:
        state = self._states.get(model)
        if state is None:
            state = self._states[model] = self._begun(model)
        return state

    def _begun(self, model: str) -> PoolState:
        """Those that are there, as after a restart of the coordinator, may well be needed."""
        return PoolState(max(self._bounds.least, min(self._bounds.most, len(self._replicas(model)))))

    def _replicas(self, model: str) -> list[Watched]:
        return [one for one in self._supervisor.encoders(model) if not one.draining]

    def _settled(self, model: str) -> bool:
        replicas = self._replicas(model)
        if any(one.ready or one.state == "failed" for one in replicas):
            return True
        return bool(replicas) and all(one.state == "waiting" for one in replicas)

    async def _fill(self, model: str) -> None:
        """Starts, brings back and ends replicas so that there are as many as are wanted."""
        there = {replica_number(one.member): one for one in self._supervisor.encoders(model)}
        replicas = [Replica(number, one.state == "ready", one.draining) for number, one in there.items()]
        change = resize(replicas, self._state(model).wanted)
        for number in change.add:
            self._supervisor.add(encoder_member(model, number))
        for number in change.revive:
            await self._supervisor.drain(there[number].member.name, draining=False)
        for number in change.drain:
            self._drain(there[number])

    async def _load(self, model: str) -> PoolLoad:
        replicas = self._replicas(model)
        ready = [one for one in replicas if one.ready]
        refusals = self._refusals.pop(model, 0)
        if self._bounds.least == self._bounds.most:
            return PoolLoad()
        speeds = [one.load.speed for one in ready if one.load.speed > 0]
        lengths = [one.load.tokens_per_text for one in ready if one.load.tokens_per_text > 0]
        speed = sum(speeds) / len(speeds) if speeds else 0.0
        length = sum(lengths) / len(lengths) if lengths else TOKENS_PER_TEXT
        # So many that the largest pool would be asked for: to count more changes nothing.
        most = self._bounds.most * speed * self._policy.queue_s / length
        backlog = await self._backlog(model, min(BACKLOG_COUNTED, int(most) + 1)) if speed else 0
        return PoolLoad(
            waiting_tokens=sum(one.load.waiting_tokens for one in ready) + backlog * length,
            oldest_s=max((one.load.oldest_s for one in ready), default=0.0),
            refusals=refusals,
            speed=speed,
            busy=sum(one.load.busy for one in ready),
            ready=len(ready),
            unplaced=sum(one.state == "waiting" for one in replicas),
        )

    def _drain(self, one: Watched) -> None:
        name = one.member.name
        if name not in self._drains:
            log.info("%s is to end once it is idle", name)
            task = self._drains[name] = asyncio.create_task(self._end_when_idle(one), name=f"drain {name}")
            task.add_done_callback(lambda _: self._drains.pop(name, None))

    async def _end_when_idle(self, one: Watched) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._supervisor.drain(one.member.name)
        # One that is slow to answer may still be working.
        while one.draining and one.state in ("ready", "unreachable") and loop.time() - began < DRAIN_MOST_S:
            await asyncio.sleep(DRAIN_LOOK_S)
            if one.state == "ready" and loop.time() - began >= DRAIN_LEAST_S and not one.load.waiting_texts:
                break
        # Brought back meanwhile?
        if one.draining:
            await self._supervisor.remove(one.member.name)

    async def _adopt(self, name: str) -> None:
        """Asks a replica what it holds: a model of no collection, which somebody has embedded with."""
        member = Member(name, "encoder")
        for _ in range(ADOPTION_TRIES):
            try:
                model = await self._supervisor.model_of(member)
            except (FleetError, grpc.aio.AioRpcError):
                await asyncio.sleep(LOOK_S)
                continue
            self._retained.use(model, time.monotonic())
            self._supervisor.add(Member(name, "encoder", model))
            # One that answers later than its siblings is needed as they are.
            self._states[model] = self._begun(model)
            return
        # Somebody may have asked for that very model meanwhile.
        if self._supervisor.get(name) is None:
            log.info("%s, which an earlier coordinator left, cannot be reached and is ended", name)
            await self._supervisor.end(member)
