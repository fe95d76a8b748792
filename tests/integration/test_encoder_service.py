"""The encoder's service over real gRPC, in this process; and once as the Ray actor that a cluster runs."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc
from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.engine.engine import EncoderEngine
from shoal.workers.encoding.engine.scheduler import QueueLimits
from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.model import AS_QUERY, EmbeddingModel, EncodeOptions, Role, Tokenized, Truncation, Vectors
from shoal.workers.encoding.replica.service import EncoderService
from shoal.workers.encoding.static.hashing_model import HashingModel
from shoal.workers.runtime import InternalCredentials, InternalServer, internal_options
from support.models.breaking_encoder import breaking_session

pytestmark = pytest.mark.timeout(300)
CREDENTIALS = InternalCredentials("between us")
METADATA = CREDENTIALS.metadata()
DOCUMENT, QUERY = encoder_pb2.ENCODE_ROLE_DOCUMENT, encoder_pb2.ENCODE_ROLE_QUERY
START, REFUSE = encoder_pb2.ENCODE_TRUNCATION_START, encoder_pb2.ENCODE_TRUNCATION_REFUSE
WAIT_S = 10.0

Stub = encoder_pb2_grpc.EncoderServiceStub
Serve = Callable[..., Stub]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a model on a free port and gives a stub for it."""
    ends: list[Callable[[], None]] = []

    def server(load: Callable[[], EmbeddingModel], model: str = "hashing:64", limits: QueueLimits | None = None) -> Stub:
        engine = EncoderEngine(model, lambda _: load(), limits)
        internal = InternalServer(EncoderService(engine).register, CREDENTIALS)
        channel = grpc.insecure_channel(internal.start(), options=internal_options())
        engine.start()
        ends.extend([channel.close, lambda: engine.close(WAIT_S), lambda: stop(internal)])
        return encoder_pb2_grpc.EncoderServiceStub(channel)

    yield server
    for end in ends:
        end()


def stop(internal: InternalServer) -> None:
    """Stops a server and closes its loop; an open loop would warn when it is collected."""
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
    *texts: str, role: encoder_pb2.EncodeRole.ValueType = DOCUMENT, fingerprint: str = "", **others: Any
) -> encoder_pb2.EncodeRequest:
    return encoder_pb2.EncodeRequest(texts=texts, role=role, fingerprint=fingerprint, **others)


def refusal(stub: Stub, sent: encoder_pb2.EncodeRequest, timeout: float = WAIT_S) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Encode(sent, metadata=METADATA, timeout=timeout)
    error = caught.value
    assert isinstance(error, grpc.Call)
    return error.code(), error.details() or ""


class GatedModel(HashingModel):
    """Encodes texts only once the gate is open, except the engine's own first text."""

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
    assert response.tokenize_us > 0
    assert response.queue_us >= 0


def test_a_ready_model_is_described(hashing: Stub) -> None:
    description = described(hashing, encoder_pb2.ENCODER_STATE_READY)
    assert (description.model, description.dimension, description.max_tokens) == ("hashing:64", 64, 512)
    assert description.fingerprint == HashingModel(64).fingerprint
    assert (description.error, description.pid) == ("", os.getpid())
    assert (description.device, description.progress) == ("cpu float32, 1 inference thread", "")


def test_the_load_is_described(hashing: Stub) -> None:
    hashing.Encode(request("tidal locking", "", "moons"), metadata=METADATA)
    load = described(hashing, encoder_pb2.ENCODER_STATE_READY).load
    assert (load.texts, load.tokens, load.batches, load.failed_texts, load.inference_threads) == (2, 3, 1, 1, 1)
    assert (load.waiting_texts, load.waiting_tokens, load.oldest_ms) == (0, 0, 0)


def test_options_are_those_of_the_model(hashing: Stub) -> None:
    sent = encoder_pb2.EncodeRequest(
        texts=["tide and moon"],
        role=QUERY,
        prompt="of the ",
        dimensions=16,
        normalize=False,
        truncation=START,
    )
    response = hashing.Encode(sent, metadata=METADATA)
    options = EncodeOptions(Role.QUERY, "of the ", 16, False, Truncation.START)
    expected = HashingModel(64).encode(["tide and moon"], options)
    assert response.dimension == 16
    np.testing.assert_array_equal(np.frombuffer(response.vectors, dtype="<f4"), expected.vectors[0])
    assert np.linalg.norm(expected.vectors[0]) < 0.99
    assert list(response.tokens) == [5]


def test_a_text_that_is_too_long_can_be_refused_or_lose_its_start(hashing: Stub) -> None:
    long = "word " * 600 + "end"
    refused = hashing.Encode(request("tide", long, truncation=REFUSE), metadata=METADATA)
    assert [(error.position, error.error) for error in refused.errors] == [
        (1, "text is longer than the model's limit of 512 tokens")
    ]
    cut = hashing.Encode(request(long, truncation=START), metadata=METADATA)
    expected = HashingModel(64).encode(["word " * 511 + "end"])
    np.testing.assert_array_equal(np.frombuffer(cut.vectors, dtype="<f4"), expected.vectors[0])


@pytest.mark.parametrize("metadata", [None, InternalCredentials("a guess").metadata()])
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
        (request(), "texts is empty, at least 1 is needed"),
        (
            request("x", role=encoder_pb2.ENCODE_ROLE_UNSPECIFIED),
            "role must be ENCODE_ROLE_DOCUMENT or ENCODE_ROLE_QUERY, not 0",
        ),
        (request("x", priority=9), "priority must be a value of EncodePriority, 0 to 3, not 9"),
        (request("x", truncation=9), "truncation must be a value of EncodeTruncation, 0 to 3, not 9"),
        (request("x", dimensions=-1), "dimensions must be at least 0, not -1"),
        (request("x", dimensions=65), "dimensions is 65, model 'hashing:64' has 64"),
        (request("x", prompt="p" * 5000), "prompt has 5000 characters, the limit is 4096"),
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


def test_a_model_that_cannot_be_loaded_is_reported_with_its_reason(serve: Serve, tmp_path: Path) -> None:
    missing = str(tmp_path / "no model")
    stub = serve(lambda: load_model(missing, threads=1), model=missing)
    assert described(stub, encoder_pb2.ENCODER_STATE_FAILED).error == "there is no such folder or file"
    expected = (grpc.StatusCode.FAILED_PRECONDITION, f"model {missing!r}: there is no such folder or file")
    assert refusal(stub, request("x")) == expected


def test_an_expired_deadline_ends_the_call_and_its_work(serve: Serve, gated: GatedModel) -> None:
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
    await_waiting(stub, 8)
    unwanted.cancel()
    await_waiting(stub, 1)
    gated.gate.set()
    assert busy.result(WAIT_S).dimension == 64
    assert not any("unwanted" in text for text in gated.texts)


def await_waiting(stub: Stub, tokens: int) -> None:
    """Waits until this many tokens are in the queue or being computed."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if described(stub, encoder_pb2.ENCODER_STATE_READY).load.waiting_tokens == tokens:
            return
        time.sleep(0.01)
    raise AssertionError(f"{tokens} tokens did not come to wait")


def test_a_full_queue_is_reported_at_once(serve: Serve, gated: GatedModel) -> None:
    stub = serve(lambda: gated, limits=QueueLimits(tokens=8))
    described(stub, encoder_pb2.ENCODER_STATE_READY)
    calls = [stub.Encode.future(request("busy"), metadata=METADATA, timeout=WAIT_S)]
    assert gated.entered.wait(WAIT_S)
    calls.append(stub.Encode.future(request("xx " * 7), metadata=METADATA, timeout=WAIT_S))
    await_waiting(stub, 8)
    code, detail = refusal(stub, request("xx " * 7))
    assert (code, detail) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "live queue holds 7 tokens; 7 more would exceed its limit of 8",
    )
    gated.gate.set()
    assert [call.result(WAIT_S).dimension for call in calls] == [64, 64]


@pytest.fixture(scope="module")
def ray_session() -> Iterator[Any]:
    """A session of its own, whose encoders can be broken (see `breaking_encoder`)."""
    ray = pytest.importorskip("ray")
    with breaking_session():
        yield ray


@pytest.mark.cluster
def test_the_actor_serves_its_model_and_stops(ray_session: Any) -> None:
    from shoal.workers.encoding.replica.actor import EncoderActor

    actor = EncoderActor.options(num_cpus=1).remote("hashing:64", CREDENTIALS, 1)
    address = ray_session.get(actor.address.remote(), timeout=60)
    with grpc.insecure_channel(address, options=internal_options()) as channel:
        stub: Stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        description = described(stub, encoder_pb2.ENCODER_STATE_READY)
        assert description.pid == ray_session.get(actor.pid.remote(), timeout=60) != os.getpid()
        assert stub.Encode(request("x"), metadata=METADATA).dimension == 64
        # It was given no GPU.
        assert description.device.split()[0] == "cpu"
        # Long-lived objects are frozen out of garbage collection, which delays answers.
        inner: Any = actor
        assert ray_session.get(inner.__ray_call__.remote(lambda _: gc.get_freeze_count()), timeout=60) > 10_000
        ray_session.get(actor.stop.remote(), timeout=60)
        assert refusal(stub, request("x"), timeout=30)[0] is grpc.StatusCode.UNAVAILABLE
    ray_session.kill(actor)


@pytest.mark.cluster
def test_a_lost_device_or_a_stalled_batch_ends_the_process_and_ray_starts_another(ray_session: Any) -> None:
    from shoal.workers.encoding.replica.actor import EncoderActor

    actor = EncoderActor.options(num_cpus=1, max_restarts=-1, max_task_retries=-1).remote("hashing:64", CREDENTIALS, 1)
    pids = []
    for deadly in ("lost", "stuck", "alive"):
        address = ray_session.get(actor.address.remote(), timeout=60)
        with grpc.insecure_channel(address, options=internal_options()) as channel:
            stub: Stub = encoder_pb2_grpc.EncoderServiceStub(channel)
            pids.append(described(stub, encoder_pb2.ENCODER_STATE_READY).pid)
            if deadly == "alive":
                assert stub.Encode(request(deadly), metadata=METADATA).dimension == 64
            else:
                # Not a failure of the model: another replica may answer.
                assert refusal(stub, request("neighbour", deadly), timeout=30)[0] is grpc.StatusCode.UNAVAILABLE
                await_end(pids[-1])
    assert len(set(pids)) == 3
    ray_session.kill(actor)


def await_end(pid: int) -> None:
    """Waits until a process has ended or is a zombie."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} lives on")
