"""The deadline that a gRPC call came with."""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

from typing import Any

import grpc.aio

from shoal.cluster.rpc.deadlines import Deadline

# The loop's clock cannot take the largest deadlines that gRPC can send.
_LONGEST_S = 1e9


def caller_deadline(context: grpc.aio.ServicerContext[Any, Any], default_s: float) -> Deadline:
    """The caller's deadline, or `default_s` from now where there is none."""
    remaining = context.time_remaining()
    return Deadline.within(default_s if remaining is None else max(0.0, min(remaining, _LONGEST_S)))


def stream_end(context: grpc.aio.ServicerContext[Any, Any]) -> Deadline | None:
    """The caller's deadline for a whole stream; None where there is none."""
    remaining = context.time_remaining()
    return None if remaining is None else Deadline.within(remaining)
