import math

import pytest

from shoal.client import InvalidArgument
from shoal.client._transport.channel import parse_target, timeout_s


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("localhost", "localhost:50051"),
        ("shoal.example:7", "shoal.example:7"),
        ("[::1]:8080", "[::1]:8080"),
        ("[::1]", "[::1]:50051"),
        ("dns:///shoal:1", "dns:///shoal:1"),
        ("unix:/run/shoal.sock", "unix:/run/shoal.sock"),
    ],
)
def test_targets(address: str, target: str):
    assert parse_target(address) == target


@pytest.mark.parametrize(
    "address", ["", ":1", "host:", "host:0", "host:65536", "host:x", "http://host:1", "::1", "a b:1", "h:²"]
)
def test_an_invalid_address_is_named_in_the_error(address: str):
    with pytest.raises(InvalidArgument) as caught:
        parse_target(address)
    assert caught.value.field == "address"
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan])
def test_a_timeout_is_finite_and_above_zero(timeout: float):
    with pytest.raises(InvalidArgument) as caught:
        timeout_s(timeout, 30.0)
    assert caught.value.field == "timeout"
    assert timeout_s(None, 30.0) == 30.0
    assert timeout_s(0.5, 30.0) == 0.5
