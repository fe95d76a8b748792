from .actor import IndexWorkerActor as IndexWorkerActor
from .files.garbage import collect_garbage as collect_garbage
from .files.sealing import seal as seal
from .files.storage import DamagedFile as DamagedFile
from .files.storage import Storage as Storage
from .files.storage import StoredFile as StoredFile
from .files.storage import checksum_of as checksum_of
from .manifest import IndexSpec as IndexSpec
from .manifest import ManifestInfo as ManifestInfo
from .manifest import SealedInfo as SealedInfo
from .manifest import SegmentInfo as SegmentInfo
from .messages import manifest_message as manifest_message
from .messages import segment_of as segment_of
from .messages import spec_message as spec_message

__all__ = [
    "DamagedFile",
    "IndexSpec",
    "IndexWorkerActor",
    "ManifestInfo",
    "SealedInfo",
    "SegmentInfo",
    "Storage",
    "StoredFile",
    "checksum_of",
    "collect_garbage",
    "manifest_message",
    "seal",
    "segment_of",
    "spec_message",
]
