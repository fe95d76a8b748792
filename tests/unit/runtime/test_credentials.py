"""What the cluster's processes prove to each other."""

from __future__ import annotations

import pytest

from shoal.workers.runtime import InternalCredentials


def test_a_process_of_the_cluster_is_admitted_by_what_it_sends() -> None:
    credentials = InternalCredentials("the secret of this cluster")
    assert credentials.admits(credentials.metadata())
    assert credentials.admits([("another-key", "x"), *credentials.metadata()])
    assert credentials.admits([(key, value.encode()) for key, value in credentials.metadata()])


@pytest.mark.parametrize("secret", ["", "the secret of another cluster", "the secret of this cluster ", "gehe\u0131m"])
def test_others_are_not(secret: str) -> None:
    credentials = InternalCredentials("the secret of this cluster")
    assert not credentials.admits(InternalCredentials(secret).metadata())
    assert not credentials.admits([])
    assert not credentials.admits([("another-key", "the secret of this cluster")])


def test_a_secret_is_in_no_log() -> None:
    credentials = InternalCredentials("the secret of this cluster")
    assert "secret of" not in f"{credentials!r} {credentials}"
