"""The settings of a new collection as the coordinator reads them: defaults, and an error for a value it does not know."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from shoal.client import types
from shoal.cluster.coordinator.service import settings_of
from shoal.cluster.errors import InvalidRequest
from shoal.cluster.ledger.records import CollectionSettings
from shoal.v1 import collections_pb2


def message(**values: Any) -> collections_pb2.CollectionSettings:
    return collections_pb2.CollectionSettings(model="m", **values)


def test_omitted_settings_get_the_defaults() -> None:
    expected = CollectionSettings(model="m", dimension=0, index="hnsw", metric="cosine", shards=3, empty_text="reject")
    assert settings_of(message(), default_shards=3) == expected


@pytest.mark.parametrize(
    ("field", "kinds", "names"),
    [
        ("index", collections_pb2.IndexKind, types.IndexKind),
        ("metric", collections_pb2.Metric, types.Metric),
        ("empty_text", collections_pb2.EmptyText, types.EmptyText),
    ],
)
def test_every_kind_is_accepted_and_no_other(field: str, kinds: Any, names: Any) -> None:
    # Zero means unspecified.
    numbers = sorted(kinds.values())
    found = [getattr(settings_of(message(**{field: number}), 1), field) for number in numbers[1:]]
    assert set(found) == set(get_args(names)) and len(found) == len(set(found))
    with pytest.raises(InvalidRequest) as refused:
        settings_of(message(**{field: numbers[-1] + 1}), 1)
    error = refused.value
    assert (error.field, error.value) == (f"settings.{field}", str(numbers[-1] + 1))
    assert error.message == f"settings.{field} = {error.value}: must be one of {', '.join(found)}"
