"""Names of encoder replicas, and which models stay loaded."""

from __future__ import annotations

import re

import pytest

from shoal.cluster.coordinator.fleet.models import RetainedModels, encoder_member, is_replica_of, replica_index


@pytest.mark.parametrize("model", ["hashing:64", "/a folder/with ä/", "org/model-v1.5", "x" * 500, "///", "ключ"])
def test_names_are_stable_safe_and_short(model: str) -> None:
    for number in (0, 1, 12):
        member = encoder_member(model, number)
        assert member == encoder_member(model, number)
        assert (member.kind, member.model, replica_index(member)) == ("encoder", model, number)
        assert re.fullmatch(rf"encoder-[A-Za-z0-9.-]*-[0-9a-f]{{8}}-{number}", member.name) and len(member.name) < 70
        assert is_replica_of(member.name, model) and not is_replica_of(member.name, model + "x")
        assert not is_replica_of(member.name + "x", model)


def test_models_of_the_same_last_name_have_different_encoders() -> None:
    assert encoder_member("/one/model", 0).name != encoder_member("/two/model", 0).name


def test_a_model_is_wanted_while_a_generation_uses_it_or_someone_asked_lately() -> None:
    retained = RetainedModels(idle_s=10.0)
    retained.use("asked", 100.0)
    assert retained.wanted(["used", "", "used"], 105.0) == {"used", "asked"}
    retained.use("asked", 105.0)
    assert retained.wanted([], 114.9) == {"asked"}
    assert retained.wanted(["used"], 115.0) == {"used"}
    retained.use("asked", 120.0)
    retained.forget("asked")
    retained.forget("never heard of")
    assert retained.wanted([], 120.0) == set()
