"""What one coordinator is configured with."""

from dataclasses import dataclass

from shoal.cluster.settings import ServeSettings
from shoal.workers.runtime import InternalCredentials


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """Passed to the coordinator's actor, and to the fleet that it starts."""

    ledger_url: str
    storage_root: str
    credentials: InternalCredentials
    holder: str
    """Name of the cluster in the lease: the same after a restart."""
    serve: ServeSettings
