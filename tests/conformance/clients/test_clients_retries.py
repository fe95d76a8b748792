"""One suite over both clients: what is retried, for how long, and which error remains."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from shoal.client import (
    DeadlineExceeded,
    Document,
    Overloaded,
    RetryPolicy,
    Unavailable,
)
from shoal.v1 import errors_pb2
from support.gateway.client_clock import Clock
from support.gateway.client_documents import documents
from support.gateway.client_server import FakeGateway


class PausesFor:
    """A retry policy that pauses for a share of the time left."""

    def __init__(self, share: float) -> None:
        self._share = share

    def pause_s(self, attempt: int, elapsed_s: float, remaining_s: float, rng: object, at_least_s: float) -> float:
        return self._share * remaining_s


def test_unavailable_is_retried(client: Any, gateway: FakeGateway):
    gateway.fail("Search", grpc.StatusCode.UNAVAILABLE, times=2)
    assert len(client.search("c", "x")) == 0
    assert gateway.world.calls["Search"] == 3


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE")])
def test_nothing_else_is_retried(client: Any, gateway: FakeGateway, code: grpc.StatusCode):
    gateway.fail("Search", code, times=2)
    with pytest.raises(Exception, match=r"ordered by the test|timeout"):
        client.search("c", "x")
    assert gateway.world.calls["Search"] == 1


def test_retries_end_with_the_deadline(client: Any, gateway: FakeGateway):
    gateway.fail("Search", grpc.StatusCode.UNAVAILABLE, times=1000)
    started_at_s = time.monotonic()
    with pytest.raises(Unavailable, match="cannot reach"):
        client.search("c", "x", timeout=2.0)
    # No tighter: a machine may pause for seconds.
    assert time.monotonic() - started_at_s < 30
    assert gateway.world.calls["Search"] >= 2


def test_a_last_attempt_without_time_does_not_hide_the_earlier_error(
    connect: Callable[..., Any], gateway: FakeGateway, clock: Clock
):
    gateway.fail("Status", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable, match="cannot reach"):
        connect(retry=PausesFor(1.1)).status()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("method", ["upsert_many", "embed_many"])
def test_a_streams_last_attempt_without_time_does_not_hide_the_earlier_error(
    connect: Callable[..., Any], gateway: FakeGateway, clock: Clock, method: str, full: bool
):
    client = connect(retry=PausesFor(1.1))
    client.create_collection("c", model="m")
    if full:
        gateway.world.batch_errors = [errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_OVERLOADED, message="full")]
    gateway.world.break_after = [] if full else [0]
    gateway.world.batch_replies = threading.Semaphore(1 if full else 0)
    with pytest.raises(Overloaded if full else Unavailable, match="full" if full else "stream broken"):
        list(client.embed_many("m", ["a"])) if method == "embed_many" else client.upsert_many("c", documents(3))


def test_the_reason_for_a_delay_is_forgotten_with_the_uploads_next_answer(
    connect: Callable[..., Any], gateway: FakeGateway, clock: Clock
):
    client = connect(retry=PausesFor(0.9))
    client.create_collection("c", model="m")
    gateway.world.break_after, gateway.world.batch_replies = [0], threading.Semaphore(1)
    with pytest.raises(DeadlineExceeded, match="no answer"):
        client.upsert_many("c", documents(30), batch_size=10, timeout=600, progress=lambda _: clock.sleep(601))


def test_the_server_may_ask_for_a_longer_pause_than_the_deadline_allows(client: Any, gateway: FakeGateway):
    fault = {"reason": errors_pb2.ERROR_REASON_UNAVAILABLE, "extra": {"retry_after_ms": 60_000}}
    gateway.fail("Search", grpc.StatusCode.UNAVAILABLE, **fault)
    with pytest.raises(Unavailable) as caught:
        client.search("c", "x")
    assert (gateway.world.calls["Search"], caught.value.retry_after_s) == (1, 60.0)


def test_a_conditional_write_is_sent_once(client: Any, gateway: FakeGateway):
    gateway.fail("Upsert", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable):
        client.upsert("c", [Document(id="a", text="x", expected_version=0)])
    assert gateway.world.calls["Upsert"] == 1
    client.upsert("c", [Document(id="a", text="x", expected_version=0)])


def test_a_slow_answer_is_not_waited_for(client: Any, gateway: FakeGateway):
    gateway.world.delay_s = 0.5
    with pytest.raises(DeadlineExceeded, match="within the timeout"):
        client.status(timeout=0.1)


def test_patience_bounds_the_retries(gateway: FakeGateway, connect: Callable[..., Any]):
    gateway.fail("Status", grpc.StatusCode.UNAVAILABLE, times=1000)
    with pytest.raises(Unavailable):
        connect(retry=RetryPolicy(patience_s=0.0)).status()
    assert gateway.world.calls["Status"] == 1
