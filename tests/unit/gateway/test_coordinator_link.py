"""Which calls to the coordinator the gateway makes again, and for how long."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shoal.cluster.errors import Unavailable, Unreachable
from shoal.cluster.gateway.backends import coordinator_link
from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.rpc.deadlines import Deadline
from shoal.internal.v1 import coordinator_pb2
from shoal.workers.runtime import InternalCredentials

ANSWER = coordinator_pb2.CreateCollectionResponse()


class Leases:
    """The address in the lease at each read; the last one again and again."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def lease(self) -> Any:
        return SimpleNamespace(address=self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0])


def sends(leases: Leases, failures: list[Exception], *, repeatable: bool = True, within_s: float = 5.0) -> list[str]:
    """The addresses that one call was sent to; raises as the call does."""
    sent: list[str] = []

    async def routed() -> None:
        pass

    async def send(address: str) -> coordinator_pb2.CreateCollectionResponse:
        sent.append(address)
        if failures:
            raise failures.pop(0)
        return ANSWER

    async def scenario() -> None:
        reads = cast(LedgerReads, leases)
        link = CoordinatorLink(reads, RoutingView(), InternalCredentials("s" * 32), "gateway", routed)
        try:
            assert await link._forward(send, Deadline.within(within_s), repeatable) is ANSWER
        finally:
            await link.close()

    try:
        asyncio.run(scenario())
    except Unavailable as error:
        assert error.retry_after_ms > 0
        sent.append("unavailable")
    return sent


GONE = Unreachable("the coordinator: connection refused")


def test_a_call_is_made_again_until_the_coordinator_is_back() -> None:
    assert sends(Leases("a"), []) == ["a"]
    assert sends(Leases("a", "a", "a", "b"), [GONE, GONE]) == ["a", "a", "b"]
    assert sends(Leases("a"), [GONE] * 3) == ["a"] * 4


def test_a_call_that_is_not_repeatable_is_made_again_only_elsewhere() -> None:
    assert sends(Leases("a"), [GONE], repeatable=False) == ["a", "unavailable"]
    assert sends(Leases("a", "b"), [GONE], repeatable=False) == ["a", "b"]
    assert sends(Leases("a", "b"), [GONE, GONE], repeatable=False) == ["a", "b", "unavailable"]


def test_what_the_coordinator_itself_refuses_is_not_asked_again() -> None:
    assert sends(Leases("a"), [Unavailable("the ledger cannot be read")]) == ["a", "unavailable"]


def test_the_time_for_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sends(Leases("a"), [GONE] * 10_000, within_s=0.2)[-1] == "unavailable"
    monkeypatch.setattr(coordinator_link, "BRIDGE_S", 0.2)
    assert sends(Leases("a"), [GONE] * 10_000)[-1] == "unavailable"
