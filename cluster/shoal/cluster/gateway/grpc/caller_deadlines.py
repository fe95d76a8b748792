"""The deadline of a gRPC call."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

from typing import Any

import grpc.aio

from shoal.cluster.rpc.deadlines import Deadline

# The event loop's clock cannot handle the largest deadlines that gRPC can send.
_LONGEST_S = 1e9


def caller_deadline(context: grpc.aio.ServicerContext[Any, Any], default_s: float) -> Deadline:
    """The caller's deadline, or `default_s` from now if there is none."""
    remaining = context.time_remaining()
    return Deadline.within(default_s if remaining is None else max(0.0, min(remaining, _LONGEST_S)))


def stream_end(context: grpc.aio.ServicerContext[Any, Any]) -> Deadline | None:
    """The caller's deadline for a whole stream; None if there is none."""
    remaining = context.time_remaining()
    return None if remaining is None else Deadline.within(remaining)
