"""Validation of names, ids, numbers and tokens. Pure; documents and vectors are checked in `documents_validation`.

Every error names the field's path, the shortened value and the limit.
"""

import re
from collections.abc import Sequence

from shoal.cluster.decisions.tokens.write_token import WriteToken
from shoal.cluster.errors import InvalidModel, InvalidRequest, MessageTooLarge, quoted, shortened
from shoal.cluster.limits import RequestLimits
from shoal.v1 import collections_pb2

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MODEL_NAME = re.compile(
    r"hashing(:[0-9]{1,9})?(@[a-z0-9]+)?|(?!hashing:)[\w.-]{1,96}(/[\w.-]{1,96})?(@[a-z0-9]+)?", re.ASCII
)
_MODEL_BYTES = 1024


def out_of_limit(field: str, value: int, limit: int, unit: str) -> InvalidRequest:
    """The error for a value above a limit of the server."""
    return InvalidRequest(f"{field}: {value} {unit}, the limit is {limit}", field=field, value=str(value), limit=limit)


def check_reply_size(size: int, limit: int, advice: str, field: str = "") -> None:
    """Raises MessageTooLarge for a reply of more than `limit` bytes; `advice` says what the caller can do."""
    if size > limit:
        raise MessageTooLarge(
            f"the reply has {size} bytes, the limit is {limit}; {advice}", field=field, value=str(size), limit=limit
        )


def check_reply_part(size: int, limit: int, part: str) -> None:
    """As `check_reply_size`, for a reply that is being built and has `part` so far."""
    if size > limit:
        raise MessageTooLarge(
            f"the reply has more than {limit} bytes with {part}, the limit is {limit}; request less at a time", limit=limit
        )


def check_collection_name(name: str, limits: RequestLimits, field: str = "collection") -> None:
    """A letter or digit, then letters, digits, '_', '.' and '-'."""
    if len(name) > limits.collection_name_bytes:
        raise out_of_limit(field, len(name.encode()), limits.collection_name_bytes, "bytes")
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{field}: {quoted(name)} is not a collection name (letter or digit, then letters, digits, '_', '.', '-')",
            field=field,
            value=shortened(name),
            limit=limits.collection_name_bytes,
        )


def check_id(document_id: str, limits: RequestLimits, field: str) -> None:
    """Not empty, no control characters, within the limit."""
    if not document_id:
        raise InvalidRequest(f"{field}: an id must not be empty", field=field, limit=limits.id_bytes)
    size = len(document_id.encode())
    if size > limits.id_bytes:
        raise out_of_limit(field, size, limits.id_bytes, "bytes")
    if _CONTROL.search(document_id):
        value = quoted(document_id)
        raise InvalidRequest(f"{field}: {value} contains control characters", field=field, value=value)


def check_ids(ids: Sequence[str], limits: RequestLimits, *, needed: bool = True) -> None:
    """A list of ids to read, delete or retry; `needed`: at least one."""
    if needed and not ids:
        raise InvalidRequest("ids: at least one id is needed", field="ids", limit=limits.ids_per_get)
    if len(ids) > limits.ids_per_get:
        raise out_of_limit("ids", len(ids), limits.ids_per_get, "ids")
    for position, document_id in enumerate(ids):
        check_id(document_id, limits, f"ids[{position}]")
    check_distinct(ids, "ids[{}]")


def check_distinct(ids: Sequence[str], path: str) -> None:
    """Rejects duplicate ids in one batch; `path` is a format string for the field of position i."""
    first: dict[str, int] = {}
    for position, document_id in enumerate(ids):
        earlier = first.setdefault(document_id, position)
        if earlier != position:
            field, value = path.format(position), shortened(document_id)
            raise InvalidRequest(
                f"{field}: {quoted(document_id)} is a duplicate of {path.format(earlier)}", field=field, value=value
            )


def check_k(k: int, limits: RequestLimits) -> None:
    """From 1 to the limit."""
    if not 1 <= k <= limits.k:
        raise InvalidRequest(f"k: {k} is not from 1 to {limits.k}", field="k", value=str(k), limit=limits.k)


def check_min_coverage(share: float) -> None:
    """From 0 to 1; NaN is neither."""
    if not 0.0 <= share <= 1.0:
        raise InvalidRequest(
            f"min_coverage: {share:g} is not from 0 to 1", field="min_coverage", value=f"{share:g}", limit=1
        )


def check_text(text: str, limits: RequestLimits, field: str) -> None:
    """Within the limit and without NUL, which not every database can store."""
    size = len(text.encode())
    if size > limits.text_bytes:
        raise out_of_limit(field, size, limits.text_bytes, "bytes")
    if "\0" in text:
        raise InvalidRequest(f"{field}: the text contains a NUL character", field=field, value=quoted(text))


def check_query_text(text: str, limits: RequestLimits) -> None:
    """A text to search for: not blank."""
    check_text(text, limits, "text")
    if not text.strip():
        raise InvalidRequest("text: a query must not be empty", field="text", value=quoted(text))


def check_embed_texts(texts: Sequence[str], limits: RequestLimits) -> dict[int, InvalidRequest]:
    """The texts of one embedding request that are too long, by position; each gets its own error in the reply.

    Raises InvalidRequest for no texts, or too many.
    """
    if not texts:
        raise InvalidRequest("texts: at least one text is needed", field="texts", limit=limits.texts_per_embed)
    if len(texts) > limits.texts_per_embed:
        raise out_of_limit("texts", len(texts), limits.texts_per_embed, "texts")
    # A character has at most four bytes, so most texts need not be encoded to be measured.
    sizes = ((position, len(text.encode())) for position, text in enumerate(texts) if 4 * len(text) > limits.text_bytes)
    return {
        position: out_of_limit(f"texts[{position}]", size, limits.text_bytes, "bytes")
        for position, size in sizes
        if size > limits.text_bytes
    }


def page_limit(asked: int, limit: int) -> int:
    """How many items to list; 0 means the server's `limit`."""
    if not 0 <= asked <= limit:
        raise InvalidRequest(f"limit: {asked} is not from 0 to {limit}", field="limit", value=str(asked), limit=limit)
    return asked or limit


def check_source(source: str, limits: RequestLimits, *, needed: bool = False) -> None:
    """The name of a source, such as the path of a folder: one line, at most as long as twice an id."""
    if not source and not needed:
        return
    size, limit = len(source.encode()), 2 * limits.id_bytes
    if size > limit:
        raise out_of_limit("source", size, limit, "bytes")
    if not source.strip() or _CONTROL.search(source):
        raise InvalidRequest(
            f"source: {quoted(source)} is not the name of a source", field="source", value=shortened(source), limit=limit
        )


def parse_token(text: str) -> WriteToken:
    """The writes that a token names."""
    token = WriteToken.parse(text)
    if token is None:
        value = shortened(text)
        raise InvalidRequest(f"token: {quoted(text)} is not a token returned by a write", field="token", value=value)
    return token


def check_token(text: str, collection: str, collection_id: int, newest: int) -> WriteToken:
    """The writes of a token, which must belong to this collection and not be newer than its last write."""
    token = parse_token(text)
    value = shortened(text)
    if token.collection_id != collection_id:
        raise InvalidRequest(
            f"token: {quoted(text)} does not belong to collection {collection!r}", field="token", value=value
        )
    if token.newest > newest:
        raise InvalidRequest(
            f"token: {quoted(text)} is newer than the last write of collection {collection!r}, {newest}",
            field="token",
            value=value,
            limit=newest,
        )
    return token


def check_model(model: str, field: str) -> None:
    """A model's name or path, on one line; whether it exists is found out when it is loaded."""
    if not model.strip():
        raise InvalidModel(f"{field}: {quoted(model)} is not the name of a model", field=field, value=quoted(model))
    size = len(model.encode())
    if size > _MODEL_BYTES:
        raise InvalidModel(
            f"{field}: {size} bytes, the limit is {_MODEL_BYTES}", field=field, value=str(size), limit=_MODEL_BYTES
        )
    if _CONTROL.search(model):
        value = quoted(model)
        raise InvalidModel(f"{field}: {value} contains control characters", field=field, value=value)
    is_path = model.startswith(("/", "./", "../", "~")) or model.count("/") > 1
    if not is_path and not _MODEL_NAME.fullmatch(model):
        # Refused here, a name that can be no model takes no encoder's place.
        value = quoted(model)
        known = "a hub name such as organisation/name, a path (./name), or hashing[:DIMENSION]"
        raise InvalidModel(f"{field}: {value} is not {known}", field=field, value=value)


def check_settings(settings: collections_pb2.CollectionSettings, limits: RequestLimits) -> None:
    """The settings of a new collection: a model, or a dimension for user-supplied vectors; the rest within limits."""
    if settings.model:
        check_model(settings.model, "settings.model")
    if not settings.model and not settings.dimension:
        raise InvalidRequest(
            "settings.model: give a model, or the dimension of the documents' own vectors", field="settings.model"
        )
    if not 0 <= settings.dimension <= limits.dimension:
        raise InvalidRequest(
            f"settings.dimension: {settings.dimension} is not from 1 to {limits.dimension}",
            field="settings.dimension",
            value=str(settings.dimension),
            limit=limits.dimension,
        )
    if not 0 <= settings.shards <= limits.shards:
        raise InvalidRequest(
            f"settings.shards: {settings.shards} is not from 0 to {limits.shards}",
            field="settings.shards",
            value=str(settings.shards),
            limit=limits.shards,
        )
    for field, value, kinds in (
        ("settings.index", settings.index, collections_pb2.IndexKind),
        ("settings.metric", settings.metric, collections_pb2.Metric),
        ("settings.empty_text", settings.empty_text, collections_pb2.EmptyText),
    ):
        if value not in kinds.values():
            raise InvalidRequest(f"{field}: {value} is not one of {', '.join(kinds.keys())}", field=field, value=str(value))
