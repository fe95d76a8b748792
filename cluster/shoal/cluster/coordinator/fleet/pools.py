"""The encoder replicas of each model: started, scaled to the load, and drained before they end.

Whether a replica is up, how many there should be, and why none can serve is decided in `decisions/processes/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

import grpc.aio

from shoal.cluster.coordinator.fleet.fleet import Fleet, FleetError, Member
from shoal.cluster.coordinator.fleet.models import (
    ENCODER_PREFIX,
    RetainedModels,
    encoder_member,
    is_replica_of,
    replica_index,
)
from shoal.cluster.coordinator.fleet.places import Places, tenant
from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.decisions.processes.liveness_events import LivenessState
from shoal.cluster.decisions.processes.outages import Outage, OutageKind, outage
from shoal.cluster.decisions.processes.scaling import PoolLoad, PoolState, Replica, ScalingPolicy, resize, scale
from shoal.cluster.errors import InvalidModel, ModelNotServed, Unavailable
from shoal.cluster.settings import EncoderSettings
from shoal.v1 import status_pb2

log = logging.getLogger(__name__)

RESIZE_EVERY_S = 1.0
DRAIN_POLL_S = 0.25
MIN_DRAIN_S = 1.0
"""A call that a gateway made just before it heard that the replica drains has arrived by then."""
DRAIN_TIMEOUT_S = 60.0
"""Work that is not finished by then is retried on other replicas."""
TOKENS_PER_TEXT = 100.0
"""Assumed until a replica has measured its own mean."""
MAX_BACKLOG_COUNTED = 1_000_000
ADOPTION_TRIES = 10
OUTAGE_KEPT_S = 30.0
"""How long an outage is known after its replicas were given up: calls to a model that was served may still wait for it."""


class ModelDemand(Protocol):
    """Which models collections need, and how much work waits for them."""

    def models(self) -> Iterable[str]:
        """The models of live generations; "" for a generation without one."""
        ...

    def fingerprints(self) -> Iterable[tuple[str, str]]:
        """Model and fingerprint of each live generation that has a model."""
        ...

    async def backlog(self, model: str, limit: int) -> int:
        """How many documents wait to be embedded by a model, counted up to a limit."""
        ...


class EncoderPools:
    """Belongs to the coordinator's event loop; `resize` must be called regularly."""

    def __init__(self, settings: EncoderSettings, supervisor: Supervisor, fleet: Fleet, demand: ModelDemand) -> None:
        self._bounds = settings.pool
        self._policy = ScalingPolicy(settings.scale_up_s, settings.scale_down_s)
        self._supervisor = supervisor
        self._fleet = fleet
        self._demand = demand
        self._retained = RetainedModels(settings.idle_s)
        self._requested: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._states: dict[str, PoolState] = {}
        self._refusals: Counter[str] = Counter()
        self._places = Places()
        self._given_up: dict[str, tuple[Outage, float]] = {}
        """Outages of models without replicas, and when they became known."""
        self._ending: set[asyncio.Task[None]] = set()
        self._drains: dict[str, asyncio.Task[None]] = {}
        self._adoptions: set[asyncio.Task[None]] = set()

    async def adopt(self) -> None:
        """Takes over the replicas that an earlier coordinator started; they keep serving meanwhile."""
        try:
            names = await asyncio.to_thread(self._fleet.existing)
        except FleetError as error:
            log.warning("existing replicas cannot be listed: %s", error)
            return
        orphans = [name for name in names if name.startswith(ENCODER_PREFIX)]
        for model in self._wanted_models():
            for name in [name for name in orphans if is_replica_of(name, model)]:
                orphans.remove(name)
                self._supervisor.add(Member(name, "encoder", model))
            self._states[model] = self._initial_state(model)
        for name in orphans:
            task = asyncio.create_task(self._adopt(name), name=f"adopt {name}")
            self._adoptions.add(task)
            task.add_done_callback(self._adoptions.discard)

    async def ready(self, model: str) -> SupervisedProcess:
        """A ready replica of the model, started if necessary.

        Raises InvalidModel when it cannot be loaded, and ModelNotServed when it may be loaded later: its process died,
        memory was missing, or there are no resources for any replica.
        """
        self._requested[model] += 1
        self._given_up.pop(model, None)
        try:
            await self._fill(model)
            await self._supervisor.changes.wait_until(lambda: self._outcome_known(model))
        finally:
            self._requested[model] -= 1
        for one in self._replicas(model):
            if one.ready:
                return one
        found = self._outage(model, "")
        if found is None:
            # Its replicas ended in this very moment.
            raise Unavailable(f"no encoder of model {model!r} is ready now", retry_after_ms=200)
        if found.kind is OutageKind.NO_ROOM:
            # It keeps waiting for resources, so that an autoscaler sees the request.
            self._retained.use(model, time.monotonic())
        elif self._requested[model] <= 0:
            self._give_up_unneeded(model, found)
        if found.kind is OutageKind.BROKEN:
            raise InvalidModel(found.reason, field="model", value=model)
        raise ModelNotServed(found.reason, field="model", value=model, retry_after_ms=found.retry_after_ms)

    async def retain(self, model: str) -> None:
        """Makes sure that a model is loaded, and keeps it loaded for a while; raises as `ready` does."""
        # Before, so that it goes on loading when the caller cannot wait, and after, however long loading took.
        self._retained.use(model, time.monotonic())
        try:
            await self.ready(model)
            self._retained.use(model, time.monotonic())
        except InvalidModel:
            self._retained.forget(model)
            raise
        except ModelNotServed:
            # Given up, unless a collection needs it.
            if model in self._given_up:
                self._retained.forget(model)
            raise

    @contextlib.contextmanager
    def hold(self, model: str) -> Iterator[None]:
        """Keeps a model loaded for as long as the block runs, though no generation uses it yet."""
        self._held[model] += 1
        try:
            yield
        finally:
            self._held[model] -= 1

    def count_refusal(self, model: str) -> None:
        """A replica was full and refused a call."""
        self._refusals[model] += 1

    async def resize(self) -> None:
        """Scales every pool to its load, and drains the replicas of models that are no longer needed."""
        now_s = time.monotonic()
        self._given_up = {one: kept for one, kept in self._given_up.items() if now_s - kept[1] < OUTAGE_KEPT_S}
        for model in self._wanted_models():
            failed = self._outage(model, "")
            if failed is not None and failed.kind in (OutageKind.BROKEN, OutageKind.PASSING) and self._requested[model] <= 0:
                self._give_up_unneeded(model, failed)
        models = self._wanted_models()
        for model in sorted(models):
            load = await self._load(model)
            self._states[model] = scale(self._state(model), load, self._bounds, self._policy, time.monotonic())
            await self._fill(model)
        finished = ((model, sum(one.load.texts for one in self._replicas(model))) for model in models)
        self._places.note_work(finished, time.monotonic())
        self._make_room()
        for model in {one.member.model for one in self._supervisor.processes if one.member.kind == "encoder"} - models:
            self._states.pop(model, None)
            for one in self._replicas(model):
                self._drain(one)

    def outages(self) -> dict[tuple[str, str], Outage]:
        """Why models cannot be served now, by model and fingerprint; "" stands for any fingerprint."""
        found = {(model, ""): kept for model, (kept, _) in self._given_up.items()}
        for model, wanted in {*((model, "") for model in self._states), *self._demand.fingerprints()}:
            now = self._outage(model, wanted)
            if now is not None:
                found[model, wanted] = now
        return found

    def shown(self) -> list[status_pb2.Pool]:
        """The pools as `shoal status` shows them."""
        problems = {model: found.reason for (model, _), found in sorted(self.outages().items(), reverse=True)}
        return [
            status_pb2.Pool(
                model=model,
                min_replicas=self._bounds.least,
                max_replicas=self._bounds.most,
                wanted=state.wanted,
                ready=sum(one.ready for one in self._replicas(model)),
                problem=problems.get(model, ""),
            )
            for model, state in sorted(self._states.items())
        ]

    async def close(self) -> None:
        """Stops resizing; the next coordinator adopts replicas that are being drained."""
        tasks = [*self._drains.values(), *self._adoptions, *self._ending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wanted_models(self) -> set[str]:
        return self._retained.wanted([*self._demand.models(), *+self._requested, *+self._held], time.monotonic())

    def _state(self, model: str) -> PoolState:
        state = self._states.get(model)
        if state is None:
            state = self._states[model] = self._initial_state(model)
        return state

    def _initial_state(self, model: str) -> PoolState:
        """Keeps the replicas that exist, as after a restart of the coordinator: they may well be needed."""
        return PoolState(max(self._bounds.least, min(self._bounds.most, len(self._replicas(model)))))

    def _replicas(self, model: str) -> list[SupervisedProcess]:
        return [one for one in self._supervisor.encoders(model) if not one.draining]

    def _outcome_known(self, model: str) -> bool:
        """Whether a replica is ready, or it is known why none will be soon."""
        self._make_room()
        return any(one.ready for one in self._replicas(model)) or self._outage(model, "") is not None

    def _outage(self, model: str, wanted: str) -> Outage | None:
        found = outage(model, wanted, self._replicas(model))
        if found is None or found.kind is not OutageKind.NO_ROOM:
            return found
        held = self._places.refused.get(model)
        return None if held is None else Outage(found.kind, "; ".join(filter(None, (found.reason, held))))

    def _make_room(self) -> None:
        """Ends replicas of models that are not needed now, for models without a place."""
        needed = set(self._demand.models())
        tenants = [
            replace(
                tenant(model, self._supervisor.encoders(model)),
                collection=model in needed,
                callers=self._requested[model] + self._held[model],
                used_s=max(self._retained.used_s(model), self._places.worked_s(model)),
            )
            for model in sorted(self._states)
        ]
        moves = self._places.decide(tenants, len(self._drains) + len(self._ending), time.monotonic())
        for claim, gives in moves.evict:
            log.info("model %r gives its place to %r", gives, claim)
        for model in (*(gives for _, gives in moves.evict), *moves.withdraw):
            # Forgotten first: the next resize would start another replica.
            self._retained.forget(model)
            self._states.pop(model, None)
            for one in self._replicas(model):
                self._drain(one)

    def _give_up_unneeded(self, model: str, found: Outage) -> None:
        """Ends the replicas of a model that cannot be loaded, unless a collection needs it. The next request tries again."""
        if model in set(self._demand.models()) or self._held[model] > 0:
            return
        # Forgotten first: the next resize would start a replica in place of the one that is being ended.
        self._retained.forget(model)
        self._states.pop(model, None)
        self._given_up[model] = (found, time.monotonic())
        for one in self._supervisor.encoders(model):
            # Callers need not wait until it is gone.
            task = asyncio.create_task(self._supervisor.remove(one.member.name), name=f"end {one.member.name}")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _fill(self, model: str) -> None:
        """Starts, revives and drains replicas until there are as many as wanted."""
        existing = {replica_index(one.member): one for one in self._supervisor.encoders(model)}
        replicas = [Replica(index, one.state is LivenessState.READY, one.draining) for index, one in existing.items()]
        change = resize(replicas, self._state(model).wanted)
        for index in change.add:
            self._supervisor.add(encoder_member(model, index))
        for index in change.revive:
            self._supervisor.drain(existing[index].member.name, draining=False)
        for index in change.drain:
            self._drain(existing[index])

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
        # A backlog of this size asks for the largest pool already, so counting further changes nothing.
        enough = self._bounds.most * speed * self._policy.queue_s / length
        backlog = await self._demand.backlog(model, min(MAX_BACKLOG_COUNTED, int(enough) + 1)) if speed else 0
        return PoolLoad(
            waiting_tokens=sum(one.load.waiting_tokens for one in ready) + backlog * length,
            oldest_s=max((one.load.oldest_s for one in ready), default=0.0),
            refusals=refusals,
            speed=speed,
            busy=sum(one.load.busy for one in ready),
            ready=len(ready),
            unplaced=sum(one.state is LivenessState.WAITING for one in replicas),
        )

    def _drain(self, one: SupervisedProcess) -> None:
        name = one.member.name
        if name not in self._drains:
            log.info("draining %s", name)
            task = self._drains[name] = asyncio.create_task(self._end_when_idle(one), name=f"drain {name}")
            task.add_done_callback(lambda _: self._drains.pop(name, None))

    async def _end_when_idle(self, one: SupervisedProcess) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._supervisor.drain(one.member.name)
        # A replica that is slow to answer may still be working.
        working = (LivenessState.READY, LivenessState.UNREACHABLE)
        while one.draining and one.state in working and loop.time() - started < DRAIN_TIMEOUT_S:
            await asyncio.sleep(DRAIN_POLL_S)
            idle = one.state is LivenessState.READY and not one.load.waiting_texts
            if idle and loop.time() - started >= MIN_DRAIN_S:
                break
        # It may have been revived meanwhile.
        if one.draining:
            await self._supervisor.remove(one.member.name)

    async def _adopt(self, name: str) -> None:
        """Asks a replica for its model. No collection uses it, so it serves direct embedding."""
        member = Member(name, "encoder")
        for _ in range(ADOPTION_TRIES):
            try:
                model = await self._supervisor.model_of(member)
            except (FleetError, grpc.aio.AioRpcError):
                await asyncio.sleep(RESIZE_EVERY_S)
                continue
            self._retained.use(model, time.monotonic())
            self._supervisor.add(Member(name, "encoder", model))
            # Counted again with each replica that is found, so that a late one is kept like the others.
            self._states[model] = self._initial_state(model)
            return
        # Its model may have been requested, and the replica adopted, meanwhile.
        if self._supervisor.get(name) is None:
            log.info("ending %s: an earlier coordinator started it and it cannot be reached", name)
            await self._supervisor.end(member)
