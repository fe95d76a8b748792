"""Whether a server can be there at all: waiting for one to come back makes sense only if one was there."""

from __future__ import annotations

import ipaddress
import socket

from shoal.client._transport.channel import parse_target

CONNECT_S = 1.0


def nobody_listens(address: str) -> bool:
    """Whether `address` is a port of this machine that no process has.

    A server that restarts keeps its port: it cannot be connected to, but nobody else can have the port either. False for
    other machines and whenever there is a doubt.
    """
    target = parse_target(address)
    host, _, port = target.rpartition(":")
    if not port.isdigit():
        return False
    try:
        places = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # Names with parts that are empty or too long cannot be encoded.
        return False
    return bool(places) and all(
        ipaddress.ip_address(place[4][0]).is_loopback and _is_free(place[0], place[4]) for place in places
    )


def _is_free(family: int, place: tuple[str | int, ...] | tuple[int, bytes]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as connecting:
        connecting.settimeout(CONNECT_S)
        try:
            connecting.connect(place)
            return False
        except ConnectionRefusedError:
            pass
        except OSError:
            # IPv6 may be off: then nobody listens there either.
            return family == socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as binding:
        try:
            binding.bind(place)
        except OSError:
            return False
    return True
