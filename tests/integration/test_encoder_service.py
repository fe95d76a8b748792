"""The encoder's service over real gRPC, in this process; and once as the Ray actor that a cluster runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest

from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc
from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.engine import EncoderEngine
from shoal.workers.encoding.hashing_model import HashingModel
from shoal.workers.encoding.loading import load_model
from shoal.workers.encoding.model import AS_QUERY, EmbeddingModel, Tokenized, Vectors
from shoal.workers.encoding.scheduler import QueueLimits
from shoal.workers.encoding.service import EncoderService
from shoal.workers.serving import InternalServer, internal_options, secret_metadata

SECRET = "between us"
METADATA = secret_metadata(SECRET)
DOCUMENT, QUERY = encoder_pb2.ENCODE_ROLE_DOCUMENT, encoder_pb2.ENCODE_ROLE_QUERY
WAIT_S = 10.0

Stub = encoder_pb2_grpc.EncoderServiceStub
Serve = Callable[..., Stub]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a model on a free port and gives a stub for it."""
    ends: list[Callable[[], None]] = []

    def server(load: Callable[[], EmbeddingModel], model: str = "hashing:64", limits: QueueLimits | None = None) -> Stub:
        engine = EncoderEngine(model, lambda _: load(), limits)
        internal = InternalServer(EncoderService(engine).register, SECRET)
        channel = grpc.insecure_channel(internal.start(), options=internal_options())
        engine.start()
        ends.extend([channel.close, lambda: engine.close(WAIT_S), lambda: stop(internal)])
        return encoder_pb2_grpc.EncoderServiceStub(channel)

    yield server
    for end in ends:
        end()


def stop(internal: InternalServer) -> None:
    """Stops a server and closes its loop, which would be complained of when it is collected."""
    internal.stop()
    while internal.loop.is_running():
        time.sleep(0.001)
    internal.loop.close()


def described(stub: Stub, state: encoder_pb2.EncoderState.ValueType) -> encoder_pb2.DescribeModelResponse:
    """The description once the model has come to `state`."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        description = stub.DescribeModel(encoder_pb2.DescribeModelRequest(), metadata=METADATA, timeout=WAIT_S)
        if description.state == state:
            return description
        time.sleep(0.01)
    raise AssertionError(f"the model did not come to {encoder_pb2.EncoderState.Name(state)}")


@pytest.fixture
def hashing(serve: Serve) -> Stub:
    stub = serve(lambda: load_model("hashing:64", threads=1))
    described(stub, encoder_pb2.ENCODER_STATE_READY)
    return stub


def request(
    *texts: str, role: encoder_pb2.EncodeRole.ValueType = DOCUMENT, fingerprint: str = ""
) -> encoder_pb2.EncodeRequest:
    return encoder_pb2.EncodeRequest(texts=texts, role=role, fingerprint=fingerprint)


def refusal(stub: Stub, sent: encoder_pb2.EncodeRequest, timeout: float = WAIT_S) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Encode(sent, metadata=METADATA, timeout=timeout)
    error = caught.value
    assert isinstance(error, grpc.Call)
    return error.code(), error.details() or ""


class GatedModel(HashingModel):
    """Encodes texts only once the gate is open; the engine's own first text passes."""

    bounds = BatchBounds(16)

    def __init__(self) -> None:
        super().__init__(64)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.texts: list[str] = []

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        if self.texts:
            self.entered.set()
            assert self.gate.wait(WAIT_S)
        self.texts.extend(" ".join(text.content) for text in batch)
        return super().forward(batch)


@pytest.fixture
def gated() -> Iterator[GatedModel]:
    model = GatedModel()
    yield model
    model.gate.set()


def test_texts_come_back_as_packed_vectors_with_tokens_and_errors(hashing: Stub) -> None:
    texts = ["tidal locking", "", "word " * 600, "moons"]
    response = hashing.Encode(request(*texts, role=QUERY), metadata=METADATA)
    vectors = np.frombuffer(response.vectors, dtype="<f4").reshape(len(texts), response.dimension)
    expected = HashingModel(64).encode(texts, AS_QUERY)
    np.testing.assert_array_equal(vectors, expected.vectors)
    assert list(response.tokens) == [2, 0, 512, 1]
    assert list(response.truncated) == [2]
    assert [(one.position, one.error) for one in response.errors] == [(1, "text is empty or only whitespace")]
    assert response.fingerprint == HashingModel(64).fingerprint
    assert response.infer_us > 0
    assert response.queue_us >= 0


def test_a_ready_model_is_described(hashing: Stub) -> None:
    description = described(hashing, encoder_pb2.ENCODER_STATE_READY)
    assert (description.model, description.dimension, description.max_tokens) == ("hashing:64", 64, 512)
    assert description.fingerprint == HashingModel(64).fingerprint
    assert (description.error, description.pid) == ("", os.getpid())


@pytest.mark.parametrize("metadata", [None, secret_metadata("a guess")])
def test_without_the_secret_nothing_is_answered(hashing: Stub, metadata: tuple[tuple[str, str], ...] | None) -> None:
    for call in (
        lambda: hashing.Encode(request("x"), metadata=metadata),
        lambda: hashing.DescribeModel(encoder_pb2.DescribeModelRequest(), metadata=metadata),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (request(), "texts is empty, the least is 1"),
        (
            request("x", role=encoder_pb2.ENCODE_ROLE_UNSPECIFIED),
            "role is 0, allowed are ENCODE_ROLE_DOCUMENT and ENCODE_ROLE_QUERY",
        ),
        (request(*[""] * 600_000), "texts has 600000 entries, the limit is 524288"),
    ],
)
def test_malformed_requests_are_refused(hashing: Stub, sent: encoder_pb2.EncodeRequest, detail: str) -> None:
    assert refusal(hashing, sent) == (grpc.StatusCode.INVALID_ARGUMENT, detail)


def test_another_fingerprint_is_refused_and_the_right_one_served(hashing: Stub) -> None:
    code, detail = refusal(hashing, request("x", fingerprint="f00d"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "fingerprint is 'f00d', model 'hashing:64' has '" in detail
    assert hashing.Encode(request("x", fingerprint=HashingModel(64).fingerprint), metadata=METADATA).dimension == 64


def test_while_the_model_loads_calls_are_unavailable_and_it_is_described(serve: Serve) -> None:
    proceed = threading.Event()

    def load() -> EmbeddingModel:
        proceed.wait(WAIT_S)
        return HashingModel(64)

    stub = serve(load)
    described(stub, encoder_pb2.ENCODER_STATE_LOADING)
    assert refusal(stub, request("x")) == (grpc.StatusCode.UNAVAILABLE, "model 'hashing:64' is loading")
    proceed.set()
    described(stub, encoder_pb2.ENCODER_STATE_READY)
    assert stub.Encode(request("x"), metadata=METADATA).dimension == 64


def test_a_model_that_cannot_be_loaded_is_told_with_its_reason(serve: Serve, tmp_path: Path) -> None:
    missing = str(tmp_path / "no model")
    stub = serve(lambda: load_model(missing, threads=1), model=missing)
    assert described(stub, encoder_pb2.ENCODER_STATE_FAILED).error == "there is no such folder or file"
    expected = (grpc.StatusCode.FAILED_PRECONDITION, f"model {missing!r}: there is no such folder or file")
    assert refusal(stub, request("x")) == expected


def test_a_passed_deadline_ends_the_call_and_its_work(serve: Serve, gated: GatedModel) -> None:
    stub = serve(lambda: gated)
    described(stub, encoder_pb2.ENCODER_STATE_READY)
    busy = stub.Encode.future(request("busy"), metadata=METADATA, timeout=WAIT_S)
    assert gated.entered.wait(WAIT_S)
    assert refusal(stub, request("late"), timeout=0.001)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    gated.gate.set()
    assert busy.result(WAIT_S).dimension == 64
    stub.Encode(request("after"), metadata=METADATA)
    assert gated.texts[1:] == ["busy", "after"]


def test_a_cancelled_call_leaves_the_queue(serve: Serve, gated: GatedModel) -> None:
    stub = serve(lambda: gated, limits=QueueLimits(tokens=8))
    described(stub, encoder_pb2.ENCODER_STATE_READY)
    busy = stub.Encode.future(request("busy"), metadata=METADATA, timeout=WAIT_S)
    assert gated.entered.wait(WAIT_S)
    unwanted = stub.Encode.future(request("unwanted " * 7), metadata=METADATA, timeout=WAIT_S)
    await_code(stub, grpc.StatusCode.RESOURCE_EXHAUSTED)
    unwanted.cancel()
    # Room shows that the work is gone: what was refused is now taken.
    await_code(stub, grpc.StatusCode.DEADLINE_EXCEEDED)
    gated.gate.set()
    assert busy.result(WAIT_S).dimension == 64
    assert not any("unwanted" in text for text in gated.texts)


def await_code(stub: Stub, code: grpc.StatusCode) -> None:
    """Sends a request that needs room in the queue until it ends with `code`."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if refusal(stub, request("needs some room"), timeout=0.1)[0] is code:
            return
        time.sleep(0.01)
    raise AssertionError(f"no call ended with {code}")


def test_a_full_queue_is_told_at_once(serve: Serve, gated: GatedModel) -> None:
    stub = serve(lambda: gated, limits=QueueLimits(tokens=8))
    described(stub, encoder_pb2.ENCODER_STATE_READY)
    calls = [stub.Encode.future(request("busy"), metadata=METADATA, timeout=WAIT_S)]
    assert gated.entered.wait(WAIT_S)
    calls.append(stub.Encode.future(request("x " * 7), metadata=METADATA, timeout=WAIT_S))
    await_code(stub, grpc.StatusCode.RESOURCE_EXHAUSTED)
    code, detail = refusal(stub, request("x " * 7))
    assert (code, detail) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "live queue holds 7 tokens; 5 more would pass its limit of 8",
    )
    gated.gate.set()
    assert [call.result(WAIT_S).dimension for call in calls] == [64, 64]


@pytest.mark.cluster
def test_the_actor_serves_its_model_and_stops() -> None:
    ray = pytest.importorskip("ray")
    from shoal.workers.encoding.actor import EncoderActor

    ray.init(address="local", num_cpus=1, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        actor = EncoderActor.options(num_cpus=1).remote("hashing:64", SECRET, 1)
        address = ray.get(actor.address.remote(), timeout=60)
        with grpc.insecure_channel(address, options=internal_options()) as channel:
            stub: Stub = encoder_pb2_grpc.EncoderServiceStub(channel)
            description = described(stub, encoder_pb2.ENCODER_STATE_READY)
            assert description.pid == ray.get(actor.pid.remote(), timeout=60) != os.getpid()
            assert stub.Encode(request("x"), metadata=METADATA).dimension == 64
            ray.get(actor.stop.remote(), timeout=60)
            assert refusal(stub, request("x"), timeout=2)[0] is grpc.StatusCode.UNAVAILABLE
    finally:
        ray.shutdown()
