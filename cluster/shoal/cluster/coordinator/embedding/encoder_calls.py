"""Calls to the encoder replicas of a generation's model. A failure comes back as a value that `reconcile` understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from shoal.cluster.coordinator.embedding.turns import EncoderTurns
from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.coordinator.worker_calls import WorkerCalls
from shoal.cluster.decisions.reconcile import DocumentBatch, EncodeFailure
from shoal.cluster.ledger.records import GenerationRecord, PendingDocument
from shoal.internal.v1 import encoder_pb2

ENCODE_TIMEOUT_S = 120.0

_FAILURES = {
    grpc.StatusCode.UNAVAILABLE: EncodeFailure.LOST,
    grpc.StatusCode.CANCELLED: EncodeFailure.LOST,
    # A text on which the model hangs looks like this.
    grpc.StatusCode.DEADLINE_EXCEEDED: EncodeFailure.LOST,
    grpc.StatusCode.RESOURCE_EXHAUSTED: EncodeFailure.BUSY,
    # The replica has another fingerprint or has only begun to load: it is the wrong one, the documents are fine.
    grpc.StatusCode.FAILED_PRECONDITION: EncodeFailure.BUSY,
    # Another process listens at the address of a replica that is gone.
    grpc.StatusCode.UNAUTHENTICATED: EncodeFailure.BUSY,
    grpc.StatusCode.UNIMPLEMENTED: EncodeFailure.BUSY,
    grpc.StatusCode.INVALID_ARGUMENT: EncodeFailure.INVALID,
}


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A batch that was not encoded."""

    failure: EncodeFailure
    reason: str


class EncoderCalls:
    """Shared by all generations. Belongs to the coordinator's event loop."""

    def __init__(
        self, supervisor: Supervisor, calls: WorkerCalls, turns: EncoderTurns, refused: Callable[[str], None]
    ) -> None:
        """`refused` is called with the model when its replicas have too much to do."""
        self._supervisor = supervisor
        self._calls = calls
        self._turns = turns
        self._refused = refused

    def replicas(self, generation: GenerationRecord) -> list[SupervisedProcess]:
        """The replicas that can encode for a generation now."""
        return [
            one
            for one in self._supervisor.encoders(generation.model)
            if one.ready and one.fingerprint == generation.fingerprint
        ]

    async def encode(
        self, generation: GenerationRecord, batch: DocumentBatch[PendingDocument]
    ) -> encoder_pb2.EncodeResponse | FailedCall:
        """Waits for a turn at a replica and has it encode the batch."""
        size = max(1, sum(len(document.text) for document in batch.documents))
        async with self._turns.acquire(lambda: self.replicas(generation), size, alone=batch.strikes > 0) as replica:
            texts_before = replica.load.texts
            request = encoder_pb2.EncodeRequest(
                texts=[document.text for document in batch.documents],
                role=encoder_pb2.ENCODE_ROLE_DOCUMENT,
                fingerprint=generation.fingerprint,
                priority=encoder_pb2.ENCODE_PRIORITY_LIVE if batch.live else encoder_pb2.ENCODE_PRIORITY_BACKFILL,
            )
            try:
                return await self._calls.call(self._calls.encoder(replica.address).Encode, request, ENCODE_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                return self._failed(generation, replica.member.name, texts_before, error)

    def _failed(self, generation: GenerationRecord, name: str, texts_before: int, error: grpc.aio.AioRpcError) -> FailedCall:
        failure = _FAILURES.get(error.code(), EncodeFailure.REJECTED)
        slow = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and self._went_on(generation, name, texts_before)
        if slow:
            # Other calls went first, as queries do: the wait says nothing about these documents.
            failure = EncodeFailure.BUSY
        if failure is EncodeFailure.LOST:
            self._supervisor.suspect(name)
        if slow or error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            self._refused(generation.model)
        return FailedCall(failure, error.details() or error.code().name)

    def _went_on(self, generation: GenerationRecord, name: str, texts_before: int) -> bool:
        """Whether a replica is up and has finished texts since a call began."""
        return any(one.member.name == name and one.load.texts > texts_before for one in self.replicas(generation))
