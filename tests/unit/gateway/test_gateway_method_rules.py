"""Each method of the public API says in its proto which role it needs; the server does not start with one that does not."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from shoal.cluster.decisions.access import EVERY_COLLECTION, AccessLevel
from shoal.cluster.gateway.access.method_rules import PUBLIC_FILES, method_rules
from shoal.v1 import collections_pb2, documents_pb2, keys_pb2, permissions_pb2

# Methods that change nothing in one collection: what they show is filtered, or belongs to no collection.
WITHOUT_COLLECTION = {"ListCollections", "Embed", "EmbedStream", "Describe", "Status"}


def test_every_method_names_the_collection_that_it_concerns() -> None:
    rules = method_rules()
    assert {rule.name for rule in rules.values() if not rule.collection_field and not rule.cluster_wide} == (
        WITHOUT_COLLECTION
    )
    assert rules["/shoal.v1.DocumentService/Delete"].collection(documents_pb2.DeleteRequest(collection="a")) == "a"
    assert (
        rules["/shoal.v1.CollectionService/DropCollection"].collection(collections_pb2.DropCollectionRequest(name="a"))
        == "a"
    )
    assert rules["/shoal.v1.KeyService/RevokeKey"].collection(keys_pb2.RevokeKeyRequest()) == EVERY_COLLECTION


def test_the_roles_of_the_methods_are_frozen() -> None:
    by_role: dict[AccessLevel, set[str]] = {role: set() for role in AccessLevel}
    for rule in method_rules().values():
        by_role[rule.needs].add(rule.name)
    assert by_role == {
        AccessLevel.READ: {
            "GetCollection", "ListCollections", "Get", "Explain", "ListFailed", "Wait", "ListSourceIds", "Search", "Embed",
            "EmbedStream", "Describe", "Status",
        },
        AccessLevel.WRITE: {"Upsert", "UpsertStream", "Delete", "RetryFailed"},
        AccessLevel.ADMIN: {"CreateCollection", "DropCollection", "CreateKey", "ListKeys", "RevokeKey"},
    }  # fmt: skip


def test_every_public_service_is_covered() -> None:
    pool = descriptor_pool.Default()
    services = {service.full_name for file in PUBLIC_FILES for service in file.services_by_name.values()}
    assert services == {
        f"shoal.v1.{name}Service" for name in ("Collection", "Document", "Search", "Embedding", "Status", "Key")
    }
    for name in services:
        assert pool.FindServiceByName(name).full_name == name


def test_a_method_without_a_role_is_refused() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="forgetful.proto", package="forgetful", dependency=[permissions_pb2.DESCRIPTOR.name]
    )
    file.message_type.add(name="Nothing")
    service = file.service.add(name="ForgetfulService")
    service.method.add(name="Erase", input_type=".forgetful.Nothing", output_type=".forgetful.Nothing")
    pool = descriptor_pool.DescriptorPool()
    for known in ("google/protobuf/descriptor.proto", permissions_pb2.DESCRIPTOR.name):
        pool.AddSerializedFile(descriptor_pool.Default().FindFileByName(known).serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    with pytest.raises(ValueError, match=r"forgetful\.ForgetfulService\.Erase does not say which role it needs"):
        method_rules([pool.FindFileByName("forgetful.proto")])
