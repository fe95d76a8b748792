"""Every reason has a class and a status, and an error survives the wire and a pickle."""

from __future__ import annotations

import inspect
import pickle

import grpc
import grpc.aio
import pytest

from shoal.cluster import errors
from shoal.cluster.ledger import errors as ledger_errors
from shoal.v1 import errors_pb2

REASONS = [value for value in errors_pb2.ErrorReason.values() if value != errors_pb2.ERROR_REASON_UNSPECIFIED]


def test_every_reason_has_a_class_and_a_status() -> None:
    assert set(errors.STATUS) == set(errors.CLASSES) == set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_an_error_survives_the_wire(reason: errors_pb2.ErrorReason.ValueType) -> None:
    error = errors.CLASSES[reason]("one line", field="k", value="7", limit=5, retry_after_ms=20)
    back = errors.from_detail(error.detail())
    assert type(back) is type(error) and back.status is errors.STATUS[reason]
    assert vars(back) == vars(error) and str(back) == "one line"


def test_an_error_survives_a_pickle() -> None:
    error = errors.ListenError("cannot listen", value="x", limit=3)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is errors.ListenError and vars(back) == vars(error)


def test_every_ledger_error_has_a_meaning() -> None:
    made = [
        ledger_errors.CollectionExists("a"),
        ledger_errors.CollectionNotFound("a"),
        ledger_errors.DocumentNotFound("a", "b"),
        ledger_errors.MalformedId("a\0"),
        ledger_errors.Deposed(1, 2),
        ledger_errors.LeaseHeld("a", "b", 5),
        ledger_errors.LedgerUnreadable("a", "b"),
    ]
    assert [type(errors.from_ledger(error)).__name__ for error in made] == [
        "CollectionTaken",
        "CollectionMissing",
        "DocumentMissing",
        "InvalidRequest",
        "Unavailable",
        "Unavailable",
        "Unavailable",
    ]
    assert all(errors.from_ledger(error).message == str(error) for error in made)


def rpc_error(code: grpc.StatusCode, details: str, *trailing: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


def test_a_failed_call_keeps_its_own_detail() -> None:
    said = errors.InvalidModel("no such folder", field="settings.model")
    failed = rpc_error(grpc.StatusCode.INVALID_ARGUMENT, "x", (errors.ERROR_KEY, said.detail().SerializeToString()))
    assert vars(errors.from_rpc(failed, "the coordinator")) == vars(said)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unreachable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.Overloaded),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequest),
        (grpc.StatusCode.UNAUTHENTICATED, errors.InternalDefect),
        (grpc.StatusCode.UNKNOWN, errors.InternalDefect),
    ],
)
def test_a_failed_call_without_detail_goes_by_its_status(code: grpc.StatusCode, kind: type[errors.ClusterError]) -> None:
    error = errors.from_rpc(rpc_error(code, "it\nbroke", (errors.ERROR_KEY, b"\xff\xff")), "shard 1/0")
    assert type(error) is kind and error.message == "shard 1/0: it broke"


def test_long_values_are_shortened_to_one_line() -> None:
    assert errors.shortened("a\nb  c ") == "a b  c "
    assert len(errors.shortened("x" * 1000)) == errors.VALUE_CHARACTERS


def test_every_class_is_in_the_drawing() -> None:
    kinds = [
        kind.__name__ for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ClusterError)
    ]
    assert len(kinds) == 22
    assert [kind for kind in kinds if kind not in (errors.__doc__ or "")] == []
