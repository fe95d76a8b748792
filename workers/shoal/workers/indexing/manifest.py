"""What a shard is made of: the durable files that the ledger lists for it, in order. Plain values; no file is read here."""

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
    """Position in the shard's order, from 1."""
    path: str
    """Relative to the storage root."""
    checksum: str
    """Hex blake2b-256 over the file's bytes."""
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SealedInfo:
    """One immutable index that replaces every segment with an ordinal up to `through`."""

    through: int
    path: str
    checksum: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ManifestInfo:
    """The complete desired state of a shard: its sealed index, if any, and the segments above it by ordinal."""

    generation: int
    shard: int
    spec: IndexSpec
    sealed: SealedInfo | None
    segments: tuple[SegmentInfo, ...]
    damage_count: int = 0
    """How often damaged files were removed: `through` alone cannot tell a state with them from one without."""

    @property
    def through(self) -> int:
        """Ordinal of the newest segment; 0 when the shard is empty."""
        if self.segments:
            return self.segments[-1].ordinal
        return self.sealed.through if self.sealed else 0
