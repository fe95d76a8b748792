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
    requests_bytes: int = 96 * 1024 * 1024
    """Requests of all callers that a gateway works on at once; a sixth of it is for those of at most 1 MiB. As messages: in
    memory a request takes up to three times its size. Not part of Describe, like the next two."""
    replies_bytes: int = 96 * 1024 * 1024
    """Replies of all calls that are being built or sent at once."""
    waiting_bytes: int = 256 * 1024 * 1024
    """Requests that were received and wait; a stream has at most one. Beyond it, requests are refused."""
