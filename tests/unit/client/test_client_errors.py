import pickle

import grpc
import pytest

from shoal.client import errors
from shoal.v1 import errors_pb2

REASONS = [value for value in errors_pb2.ErrorReason.values() if value != errors_pb2.ERROR_REASON_UNSPECIFIED]


def metadata(detail: errors_pb2.ErrorDetail) -> list[tuple[str, bytes]]:
    return [(errors.DETAIL_KEY, detail.SerializeToString())]


def test_every_reason_has_a_class_of_its_own():
    assert set(errors.BY_REASON) == set(REASONS)
    assert len(set(errors.BY_REASON.values())) == len(REASONS)


def test_every_status_but_ok_has_a_class():
    assert set(errors.BY_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


def test_the_drawn_tree_names_every_class_under_its_parent():
    assert errors.__doc__ is not None
    path: list[str] = []
    drawn: dict[str, str] = {}
    for line in errors.__doc__.splitlines():
        if line and not line.startswith(("What", " ")) and line.rstrip()[-1].isalpha():
            depth = (len(line) - len(line.lstrip("│├└─ "))) // 4
            name = line.lstrip("│├└─ ")
            path[depth:] = [name]
            drawn[name] = path[depth - 1] if depth else "Exception"
    classes = {
        name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    defined = {name: value for name, value in classes.items() if value.__module__ == errors.__name__}
    assert drawn == {name: value.__base__.__name__ for name, value in defined.items() if value.__base__}


@pytest.mark.parametrize("reason", REASONS, ids=errors_pb2.ErrorReason.Name)
def test_a_detail_decides_over_the_status(reason: errors_pb2.ErrorReason.ValueType):
    detail = errors_pb2.ErrorDetail(
        reason=reason, message="one\nline", field="documents[3].text", value="x", limit=9, retry_after_ms=1500
    )
    error = errors.error_from_status(grpc.StatusCode.UNKNOWN, "other", metadata(detail), "here:1")
    assert type(error) is errors.BY_REASON[reason]
    assert str(error) == "one line"
    assert (error.field, error.value, error.limit, error.retry_after_s) == ("documents[3].text", "x", 9, 1.5)


def test_a_reason_from_a_newer_server_falls_back_to_the_status():
    detail = errors_pb2.ErrorDetail(reason=99, message="new", field="f")  # type: ignore[arg-type]
    error = errors.error_from_status(grpc.StatusCode.NOT_FOUND, "", metadata(detail), "here:1")
    assert type(error) is errors.NotFound
    assert (str(error), error.field, error.limit, error.retry_after_s) == ("new", "f", None, None)


def test_a_damaged_detail_falls_back_to_the_status():
    error = errors.error_from_status(grpc.StatusCode.UNAUTHENTICATED, "who?", [(errors.DETAIL_KEY, b"\xff")], "here:1")
    assert type(error) is errors.Unauthenticated
    assert str(error) == "who?"


@pytest.mark.parametrize(
    ("code", "message", "expected", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, "refused", errors.Unavailable, "cannot reach here:1: refused"),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (5 vs. 4)",
            errors.MessageTooLarge,
            "5 vs. 4",
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", errors.Overloaded, "queue full"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", errors.DeadlineExceeded, "no answer from here:1"),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", errors.Unsupported, "does not know this call"),
        (grpc.StatusCode.INTERNAL, "", errors.InternalError, "the call failed with INTERNAL"),
    ],
)
def test_a_call_without_detail(code: grpc.StatusCode, message: str, expected: type, words: str):
    error = errors.error_from_status(code, message, None, "here:1")
    assert type(error) is expected
    assert words in str(error)


def test_errors_survive_pickling():
    error = errors.VersionConflict("no", field="f", limit=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.field, copy.limit) == (errors.VersionConflict, "no", "f", 3)
