"""Allows downloads from public addresses only.

Links come from a server, and a hostile or broken one could name a machine in the user's own
network. The check is made on the address that is really dialled, so that names, odd spellings of
numbers (``0x7f000001``), redirects and a second answer of the name server cannot bypass it.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""An entry of `socket.getaddrinfo`: family, type, protocol, canonical name, address."""

_UNICAST = IPv6Network("2000::/3")
"""IPv6 addresses of the internet; translated IPv4 (NAT64) lies outside."""
_NOT_PUBLIC_V4 = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("168.63.129.16/32"),  # the host's own services in one large cloud
)
_NOT_PUBLIC_V6 = (
    IPv6Network("2001::/23"),  # protocol assignments, tunnels (Teredo) among them
    IPv6Network("2002::/16"),  # 6to4: holds an IPv4 address, which may be private
    IPv6Network("3fff::/20"),  # documentation
)


class NotPublicError(OSError):
    """A connection was not made, because its address is not public."""

    def __init__(self) -> None:
        # Always the same message: where all addresses of a name fail with equal errors, aiohttp's
        # connector raises one of these, and a plain OSError where they differ.
        super().__init__(errno.EACCES, "the address is not public")


def is_public(address: str) -> bool:
    """Whether *address*, an IPv4 or IPv6 literal, is reachable on the public internet."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        return _is_public_v4(ip.ipv4_mapped) if ip.ipv4_mapped else _is_public_v6(ip)
    return _is_public_v4(ip)


def names_private(host: str) -> bool:
    """Whether *host* spells an address that is not public, in any notation.

    Needed besides `public_socket` because a proxy resolves and dials hosts itself.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    if ":" in host:
        return not is_public(host)
    try:
        # As the system's resolver reads it: 127.1, 0x7f000001 and 2130706433 are one address.
        return not _is_public_v4(IPv4Address(socket.inet_aton(host)))
    except (OSError, ValueError):
        return False


def _is_public_v4(ip: IPv4Address) -> bool:
    return ip.is_global and not ip.is_multicast and not any(ip in each for each in _NOT_PUBLIC_V4)


def _is_public_v6(ip: IPv6Address) -> bool:
    return ip in _UNICAST and ip.is_global and not any(ip in each for each in _NOT_PUBLIC_V6)


def public_socket(info: AddressInfo) -> socket.socket:
    """Make the socket for a connection to a public address.

    Raises:
        NotPublicError: the address is not public.
    """
    if not is_public(str(info[4][0])):
        raise NotPublicError
    return socket.socket(*info[:3])
