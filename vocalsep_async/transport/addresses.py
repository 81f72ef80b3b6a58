"""Which addresses a file may be fetched from: public ones.

Links come from a server, and a hostile or broken one could name a machine in the user's own
network. What counts is the address that is really dialled: names, odd spellings of numbers
(``0x7f000001``), redirects and a second answer of the name server all end there.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""What the name server's answer becomes: family, type, protocol, canonical name, address."""

_UNICAST = IPv6Network("2000::/3")
"""Where IPv6 addresses of the internet lie; translated IPv4 (NAT64) lies outside."""
_NOT_PUBLIC_V4 = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
)
_NOT_PUBLIC_V6 = (
    IPv6Network("2001::/23"),  # protocol assignments, tunnels (Teredo) among them
    IPv6Network("2002::/16"),  # 6to4: holds an IPv4 address, which may be private
)


class NotPublicError(OSError):
    """A connection to an address that is not public was refused, before it was made."""

    def __init__(self) -> None:
        # The same words each time: of many addresses of a name that all fail alike, the
        # connector raises one such error, and of different ones a mere OSError.
        super().__init__(errno.EACCES, "the address is not public")


def is_public(address: str) -> bool:
    """Whether *address*, as numbers, belongs to the internet at large."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        return _is_public_v4(ip.ipv4_mapped) if ip.ipv4_mapped else _is_public_v6(ip)
    return _is_public_v4(ip)


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
