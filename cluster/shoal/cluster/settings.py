"""Settings of a cluster: frozen, documented field by field, read once from file and command line, validated together.

Nothing else in Shoal reads configuration; what a part needs is passed to it.
"""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from shoal.cluster.decisions.processes.scaling import PoolBounds
from shoal.cluster.limits import RequestLimits
from shoal.workers.runtime import error_line

ACCESS = ("open", "keys")


class SettingsError(Exception):
    """A setting is unknown, of the wrong type or out of range; the message is one line and names it."""


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How models are served."""

    replicas: int = 0
    """A fixed number of encoder replicas per model, short for equal `min_replicas` and `max_replicas`; 0 goes by those."""
    min_replicas: int = 1
    """Encoder replicas that each model has at least."""
    max_replicas: int = 1
    """... and at most: between the two it goes by the work that waits."""
    scale_up_s: float = 5.0
    """Work that would take a model's replicas longer than this brings more of them, up to `max_replicas`."""
    scale_down_s: float = 120.0
    """How long fewer must have sufficed before a replica is ended; it finishes what it has first."""
    threads: int = 0
    """Compute threads of a replica on the CPU; 0 takes `cpus` if that is 1 or more, else the machine's cores divided by the
    most replicas that there may be."""
    cpus: float = 0.5
    """CPU share that Ray reserves for a replica: small, so that several models fit on a laptop. In a cluster give the cores
    that a replica is to use."""
    gpus: float = 0.0
    """GPU share that Ray reserves for a replica, such as 0.5 for two on one GPU; 0 runs it on the CPU."""
    batch_documents: int = 64
    """Documents in one call to a replica. Larger batches use the hardware better, smaller ones show edits sooner."""
    batch_bytes: int = 128 * 1024
    """Text in one call; a batch closes at whichever comes first."""
    idle_s: float = 600.0
    """How long a model that no collection uses stays loaded after its last embedding call."""

    @property
    def pool(self) -> PoolBounds:
        """How many replicas a model may have; raises ValueError where `validate` would complain."""
        return PoolBounds(self.replicas or self.min_replicas, self.replicas or self.max_replicas)

    @property
    def threads_wanted(self) -> int:
        """Compute threads of one replica; 0 is for the machine that it starts on to say."""
        return self.threads or int(self.cpus)


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How shards are served and sealed."""

    workers: int = 1
    """Index workers; each holds many shards."""
    threads: int = 0
    """Search threads of a worker; 0 takes the machine's cores."""
    cpus: float = 0.25
    """CPU share that Ray reserves for a worker."""
    shards: int = 2
    """Shards of a collection that does not ask for a number."""
    seal_delta_rows: int = 16_384
    """A shard is sealed when its delta passes this; scanning as many takes about a millisecond."""
    seal_segments: int = 64
    """... or when it has more segment files than this ..."""
    seal_dead_share: float = 0.2
    """... or when more than this share of its sealed rows is dead."""
    file_grace_s: float = 30.0
    """How long replaced files stay: a worker may still be reading them."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How documents that cannot be embedded are retried."""

    attempts: int = 5
    """Attempts that count before a document is set aside as failed."""
    first_pause_s: float = 1.0
    """Pause after the first failed attempt; it doubles with each further one."""
    longest_pause_s: float = 300.0


@dataclass(frozen=True, slots=True)
class QueryCacheSettings:
    """What the gateway keeps of the vectors of query texts, so that a repeated query costs no encoder call."""

    limit_bytes: int = 64 * 1024 * 1024
    """Memory of it; 0 switches it off."""
    limit_entries: int = 100_000
    """... and vectors in it, whichever comes first."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Everything that `shoal serve` needs."""

    data: str = "shoal-data"
    """Data folder: ledger, secret and lock; also the vectors unless `storage` says otherwise."""
    listen: str = "127.0.0.1:50051"
    """Where the gateway listens."""
    ledger: str = ""
    """SQLAlchemy URL of the ledger; empty is SQLite in the data folder."""
    storage: str = ""
    """Folder or URI (s3://, gs://) of segments and sealed indexes; empty is a folder in the data folder."""
    lease_s: float = 10.0
    """How long the coordinator's lease lasts without renewal."""
    drain_s: float = 10.0
    """How long calls in flight may take to end when the server stops."""
    access: str = "open"
    """Who may call: "open" is everybody who reaches `listen`, "keys" is whoever sends an API key."""
    metrics: str = ""
    """HOST:PORT where the gateway serves figures for Prometheus, without any authentication; empty serves none."""
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    query_cache: QueryCacheSettings = field(default_factory=QueryCacheSettings)

    def validate(self) -> None:
        """Raises SettingsError naming the first setting that is out of range."""
        checks = [
            ("encoder.replicas", self.encoder.replicas, 0, 1024),
            ("encoder.min_replicas", self.encoder.min_replicas, 1, 1024),
            ("encoder.max_replicas", self.encoder.max_replicas, self.encoder.min_replicas, 1024),
            ("encoder.scale_up_s", self.encoder.scale_up_s, 0.1, 3600),
            ("encoder.scale_down_s", self.encoder.scale_down_s, 1, 86_400),
            ("encoder.threads", self.encoder.threads, 0, 1024),
            ("encoder.cpus", self.encoder.cpus, 0, 1024),
            ("encoder.gpus", self.encoder.gpus, 0, 64),
            ("encoder.batch_documents", self.encoder.batch_documents, 1, 4096),
            ("encoder.batch_bytes", self.encoder.batch_bytes, 1024, 64 * 1024 * 1024),
            ("encoder.idle_s", self.encoder.idle_s, 0, 2_592_000),
            ("index.workers", self.index.workers, 1, 1024),
            ("index.threads", self.index.threads, 0, 1024),
            ("index.cpus", self.index.cpus, 0, 1024),
            ("index.shards", self.index.shards, 1, RequestLimits().shards),
            ("index.seal_delta_rows", self.index.seal_delta_rows, 1, 10_000_000),
            ("index.seal_segments", self.index.seal_segments, 1, 100_000),
            ("index.seal_dead_share", self.index.seal_dead_share, 0.01, 1.0),
            ("index.file_grace_s", self.index.file_grace_s, 0, 86_400),
            ("retry.attempts", self.retry.attempts, 1, 1000),
            ("retry.first_pause_s", self.retry.first_pause_s, 0.001, 3600),
            ("retry.longest_pause_s", self.retry.longest_pause_s, self.retry.first_pause_s, 86_400),
            ("query_cache.limit_bytes", self.query_cache.limit_bytes, 0, 64 * 1024**3),
            ("query_cache.limit_entries", self.query_cache.limit_entries, 0, 100_000_000),
            ("lease_s", self.lease_s, 1, 3600),
            ("drain_s", self.drain_s, 0, 3600),
        ]
        for name, value, low, high in checks:
            if not low <= value <= high:
                raise SettingsError(f"{name} = {value}: must be between {low} and {high}")
        if self.encoder.replicas and (self.encoder.min_replicas, self.encoder.max_replicas) != (1, 1):
            raise SettingsError(
                f"encoder.replicas = {self.encoder.replicas}: is a fixed number; "
                "leave it out with encoder.min_replicas and encoder.max_replicas"
            )
        if self.access not in ACCESS:
            raise SettingsError(f"access = {self.access!r}: must be one of {', '.join(ACCESS)}")
        split_listen(self.listen)
        if self.metrics:
            split_listen(self.metrics, "metrics")


def split_listen(listen: str, setting: str = "listen") -> tuple[str, int]:
    """Splits "HOST:PORT"; raises SettingsError, naming the setting, when it is not that or the port is not 0 to 65535."""
    host, colon, port = listen.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not colon or not host or not digits or int(port) > 65535:
        raise SettingsError(f"{setting} = {listen!r}: must be HOST:PORT with a port from 0 to 65535")
    return host.strip("[]"), int(port)


def read_settings(path: Path | None, overrides: dict[str, Any]) -> ServeSettings:
    """Defaults, then the TOML file, then `overrides` (None values are skipped); validated.

    Raises SettingsError when the file cannot be read or names a setting that does not exist.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"settings file {path}: {error_line(error)}") from error
        except ValueError as error:
            # Not TOML, not UTF-8, or a number of thousands of digits.
            raise SettingsError(f"settings file {path}: {error}") from error
    settings = _build(ServeSettings, table, "")
    settings = dataclasses.replace(settings, **{name: value for name, value in overrides.items() if value is not None})
    settings.validate()
    return settings


def _build(kind: type, table: dict[str, Any], prefix: str) -> Any:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in table.items():
        wanted = hints.get(name)
        if wanted is None:
            raise SettingsError(f"{prefix}{name}: there is no such setting; there are {', '.join(sorted(hints))}")
        if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
            if not isinstance(value, dict):
                raise SettingsError(f"{prefix}{name} = {value!r}: must be a table")
            values[name] = _build(wanted, value, f"{prefix}{name}.")
        elif wanted is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                values[name] = float(value)
            except OverflowError:
                raise SettingsError(f"{prefix}{name}: a whole number too large for this setting") from None
        elif not isinstance(value, wanted) or isinstance(value, bool):
            raise SettingsError(f"{prefix}{name} = {value!r}: must be of type {wanted.__name__}")
        else:
            values[name] = value
    return kind(**values)
