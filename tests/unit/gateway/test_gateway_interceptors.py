"""What a caller is told about an exception."""

from __future__ import annotations

import logging

import pytest

from shoal.cluster.errors import CollectionMissing, DeadlineExceeded, InternalDefect, InvalidRequest
from shoal.cluster.gateway.grpc.interceptors import meaning
from shoal.cluster.ledger.errors import CollectionNotFound

METHOD = "/shoal.v1.SearchService/Search"


def test_errors_on_purpose_keep_their_meaning(caplog: pytest.LogCaptureFixture) -> None:
    refusal = InvalidRequest("k: 0")
    assert meaning(refusal, METHOD) is refusal
    assert type(meaning(CollectionNotFound("a"), METHOD)) is CollectionMissing
    late = meaning(TimeoutError(), METHOD)
    assert type(late) is DeadlineExceeded and late.message == "Search did not end in time"
    assert not caplog.records


def test_a_defect_is_one_line_for_the_caller_and_a_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = meaning(ValueError("two\nlines"), METHOD)
    assert type(error) is InternalDefect
    assert error.message == "a defect in Shoal: ValueError: two lines"
    [record] = caplog.records
    assert record.exc_info is not None and METHOD in record.getMessage()
