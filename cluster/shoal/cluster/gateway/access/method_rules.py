"""What each public method needs of its caller, read from the protos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message

from shoal.cluster.decisions.access import EVERY_COLLECTION, AccessLevel
from shoal.v1 import (
    collections_pb2,
    documents_pb2,
    embedding_pb2,
    keys_pb2,
    permissions_pb2,
    search_pb2,
    status_pb2,
)

PUBLIC_FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR for module in (collections_pb2, documents_pb2, search_pb2, embedding_pb2, status_pb2, keys_pb2)
)
_COLLECTION_FIELDS: Mapping[str, str] = {"shoal.v1.CollectionService": "name"}
_CLUSTER_SERVICES = ("shoal.v1.KeyService",)


@dataclass(frozen=True, slots=True)
class MethodRule:
    """What a method needs."""

    name: str
    needs: AccessLevel
    collection_field: str = ""
    """The field of the request that names the collection; empty if none does."""
    cluster_wide: bool = False
    """It concerns every collection, so the caller's scope must be every collection."""

    def collection(self, request: Message) -> str | None:
        """The collection that a request concerns; None when it concerns none in particular."""
        if self.cluster_wide:
            return EVERY_COLLECTION
        return getattr(request, self.collection_field) if self.collection_field else None


def method_rules(files: Iterable[FileDescriptor] = PUBLIC_FILES) -> Mapping[str, MethodRule]:
    """The rule of each method, by its path "/package.Service/Method".

    Raises ValueError for a method whose proto does not say which role it needs.
    """
    rules: dict[str, MethodRule] = {}
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                rules[f"/{service.full_name}/{method.name}"] = _rule(method)
    return MappingProxyType(rules)


def _rule(method: MethodDescriptor) -> MethodRule:
    needs = method.GetOptions().Extensions[permissions_pb2.needs]
    if needs == permissions_pb2.ACCESS_ROLE_UNSPECIFIED:
        raise ValueError(f"{method.full_name} does not say which role it needs")
    service = method.containing_service.full_name
    field = _COLLECTION_FIELDS.get(service, "collection")
    return MethodRule(
        method.name,
        AccessLevel(needs),
        field if field in method.input_type.fields_by_name else "",
        service in _CLUSTER_SERVICES,
    )
