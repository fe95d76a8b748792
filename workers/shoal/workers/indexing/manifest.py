"""What a shard is made of: the durable files that the ledger names for it, in order. No bytes are read here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """How the vectors of a generation are indexed."""

    kind: str
    """"flat", "hnsw" or "ivf"."""
    metric: str
    """"cosine", "dot" or "l2"."""
    dimension: int


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One immutable file of applied rows."""

    ordinal: int
    """Place in the shard's order, from 1."""
    path: str
    """Relative to the storage root."""
    checksum: str
    """Hex blake2b-256 over the file's bytes."""
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SealedInfo:
    """One immutable index that stands for every segment with an ordinal up to `through`."""

    through: int
    path: str
    checksum: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ManifestInfo:
    """The whole wanted state of a shard: its sealed index, if any, then the segments above it in order of ordinal."""

    generation: int
    shard: int
    spec: IndexSpec
    sealed: SealedInfo | None
    segments: tuple[SegmentInfo, ...]
    damage_count: int = 0
    """How often damaged files were taken out: `through` does not tell a state without them from one with them."""

    @property
    def through(self) -> int:
        """Ordinal of the newest segment inside; 0 when the shard is empty."""
        if self.segments:
            return self.segments[-1].ordinal
        return self.sealed.through if self.sealed else 0
