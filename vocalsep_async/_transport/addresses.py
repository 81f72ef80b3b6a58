"""Allows downloads from public addresses only, and from networks that the user names.

Links come from a server, and a hostile or broken one could name a machine in the user's own
network. The check is made on the address that is really dialled, so that names, odd spellings of
numbers (``0x7f000001``), redirects and a second answer of the name server cannot bypass it.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from attrs import frozen

Network = IPv4Network | IPv6Network
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""An entry of `socket.getaddrinfo`: family, type, protocol, canonical name, address."""

WEB_PORTS = frozenset({80, 443})
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


_TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv4 addresses in a network that speaks IPv6 only (NAT64)."""
_SPREAD = (
    IPv4Network("198.18.0.0/15"),  # proxies that answer for every name with an address of theirs
    IPv4Network("100.64.0.0/10"),  # of an internet provider, or of a private network over it
    IPv6Network("fc00::/7"),  # local networks, and the proxies above
    _TRANSLATED,
)
"""Networks of which a name may get any address, another one each time."""


class NotPublicError(OSError):
    """A connection was not made, because its address is not allowed.

    Attributes:
        why: the address or port, and the option that allows it.
    """

    def __init__(self, why: str) -> None:
        # Always the same message: where all addresses of a name fail with equal errors, aiohttp's
        # connector raises one of these, and a plain OSError where they differ.
        super().__init__(errno.EACCES, "the address is not public")
        self.why = why


@frozen
class AddressRules:
    """Which addresses files may be fetched from: public ones, and those in some networks.

    Args:
        networks: networks that are allowed, at any port.
    """

    networks: tuple[Network, ...] = ()

    def objection(self, address: str, port: int) -> str | None:
        """Why files must not be fetched from *address*; None if they may be.

        Args:
            address: an IPv4 or IPv6 literal.
            port: of the host.
        """
        try:
            ip = _plain(address)
        except ValueError:
            return "its host is not readable as an address"
        if self._allows(ip):
            return None
        if not is_public(address):
            return (
                f"{ip} is not a public address; if your network uses such addresses, "
                f"allow_private_hosts=('{_network_of(ip)}',) on the client allows them"
            )
        return None if port in WEB_PORTS else _wrong_port(port)

    def objection_to_host(self, host: str, port: int, *, is_resolved_here: bool) -> str | None:
        """Why files must not be fetched from *host*, as far as its spelling tells.

        Args:
            host: a name or an address, in any notation.
            port: of the host.
            is_resolved_here: whether `socket` will judge what a name resolves to. A proxy resolves
                and dials hosts itself.
        """
        address = _address_in(host)
        if address is not None:
            return self.objection(address, port)
        # The name may have an address in a network that is allowed, at any port.
        is_judged_later = is_resolved_here and bool(self.networks)
        return None if port in WEB_PORTS or is_judged_later else _wrong_port(port)

    def _allows(self, ip: IPv4Address | IPv6Address) -> bool:
        is_named = any(ip in network for network in self.networks)
        if not is_named or ip not in _TRANSLATED:
            return is_named
        # The translator dials the address that is wrapped.
        wrapped = IPv4Address(int(ip) & 0xFFFFFFFF)
        return _is_public_v4(wrapped) or self._allows(wrapped)

    def socket(self, info: AddressInfo) -> socket.socket:
        """Make the socket for a connection.

        Raises:
            NotPublicError: the address or the port is not allowed.
        """
        why = self.objection(str(info[4][0]), info[4][1])
        if why is not None:
            raise NotPublicError(why)
        return socket.socket(*info[:3])


def _wrong_port(port: int) -> str:
    return (
        f"the port {port} is not one of the web's; allow_private_hosts=True on the client allows it"
    )


def _plain(address: str) -> IPv4Address | IPv6Address:
    """*address*; an IPv4 address that is mapped into IPv6 as itself."""
    ip = ip_address(address)
    # Without its zone, which no network has.
    return ip.ipv4_mapped or IPv6Address(int(ip)) if isinstance(ip, IPv6Address) else ip


def _network_of(ip: IPv4Address | IPv6Address) -> Network | str:
    """The smallest network that allows *ip*, and the addresses that its name may have next."""
    return next((each for each in _SPREAD if ip in each), f"{ip}/{ip.max_prefixlen}")


def is_public(address: str) -> bool:
    """Whether *address*, an IPv4 or IPv6 literal, is reachable on the public internet."""
    try:
        ip = _plain(address)
    except ValueError:
        return False
    return _is_public_v6(ip) if isinstance(ip, IPv6Address) else _is_public_v4(ip)


def _address_in(host: str) -> str | None:
    """The address that *host* spells, in any notation; None for a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    if ":" in host:
        return host
    try:
        # As the system's resolver reads it: 127.1, 0x7f000001 and 2130706433 are one address.
        return str(IPv4Address(socket.inet_aton(host)))
    except (OSError, ValueError):
        return None


def _is_public_v4(ip: IPv4Address) -> bool:
    return ip.is_global and not ip.is_multicast and not any(ip in each for each in _NOT_PUBLIC_V4)


def _is_public_v6(ip: IPv6Address) -> bool:
    return ip in _UNICAST and ip.is_global and not any(ip in each for each in _NOT_PUBLIC_V6)
