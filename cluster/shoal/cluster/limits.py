"""Every bound that a gateway puts on input. The same numbers go out in Describe."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on one request; all inclusive."""

    message_bytes: int = 32 * 1024 * 1024
    """One gRPC message, either way."""
    documents_per_write: int = 1000
    id_bytes: int = 512
    """UTF-8 bytes of a document's id."""
    text_bytes: int = 65536
    payload_bytes: int = 32768
    dimension: int = 8192
    k: int = 1000
    shards: int = 256
    collection_name_bytes: int = 128
    texts_per_embed: int = 1000
    ids_per_get: int = 1000
    """Also the ids of one delete or retry."""
    failed_per_list: int = 1000
    prompt_characters: int = 4096
    """Of a prompt that an embedding request brings along."""
    stream_window: int = 8
    """Messages of one upsert or embedding stream that are worked on at once; not part of Describe."""
    queries_per_call: int = 256
    """Queries that travel together to a shard or an encoder; not part of Describe."""
