"""The settings of one gateway."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.cluster.limits import RequestLimits
from shoal.workers.runtime import InternalCredentials


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Everything that a gateway needs at startup."""

    listen: str
    """HOST:PORT; port 0 takes a free one."""
    ledger_url: str
    credentials: InternalCredentials
    """For calls inside the cluster."""
    name: str = "gateway"
    limits: RequestLimits = field(default_factory=RequestLimits)
    default_deadline_s: float = 60.0
    """For calls without a deadline, and for each batch of a stream."""
    query_cache_bytes: int = 64 * 1024 * 1024
    query_cache_entries: int = 100_000
    retain_every_s: float = 10.0
    """How often the gateway tells the coordinator that a model is in use; well below its `encoder.idle_s`."""
    keys_required: bool = False
    """Whether every call needs an API key."""
    metrics_listen: str = ""
    """HOST:PORT for Prometheus; empty for no metrics."""
