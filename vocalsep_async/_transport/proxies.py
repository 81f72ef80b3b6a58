"""Which proxy a request goes through: one for all requests, or those of the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Self
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from attrs import field, frozen
from yarl import URL

from vocalsep_async._transport.secrets import proxy_login


@frozen
class Proxy:
    """An HTTP proxy.

    Attributes:
        address: its URL, without the login: aiohttp would keep that in connection keys, which
            tracebacks show.
        login: the header with its login, whose value is masked; None if there is none.
    """

    address: URL
    login: Mapping[str, str] | None = field(repr=False)

    @classmethod
    def of(cls, url: URL) -> Self:
        """The proxy at *url*, which may hold a login."""
        return cls(url.with_user(None), proxy_login(url))

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of aiohttp that send a request through it.

        The login is sent only to open a tunnel: a request to the proxy itself needs it as a header.
        """
        return {"proxy": self.address, "proxy_headers": self.login}


class Proxies:
    """The proxies of a client.

    Args:
        by_scheme: the proxy for each scheme of a request, with its login.
        exceptions: hosts that are reached without a proxy, as ``NO_PROXY`` lists them.
    """

    def __init__(self, by_scheme: Mapping[str, URL] | None = None, exceptions: str = "") -> None:
        self._by_scheme = {scheme: Proxy.of(proxy) for scheme, proxy in (by_scheme or {}).items()}
        self._exceptions = exceptions

    def for_url(self, url: URL) -> Proxy | None:
        """The proxy for a request to *url*; None if it needs none."""
        proxy = self._by_scheme.get(url.scheme)
        return None if proxy is None or self._is_exception(url) else proxy

    def _is_exception(self, url: URL) -> bool:
        # A trailing dot does not change what a name means.
        host = (url.raw_host or "").rstrip(".")
        # An entry may name a host alone, or with its port.
        spellings = (host, f"{host}:{url.port}", f"[{host}]:{url.port}")
        return any(
            proxy_bypass_environment(each, {"no": self._exceptions}) for each in spellings
        ) or _is_in_a_network(host, self._exceptions.split(","))


def _is_in_a_network(host: str, entries: list[str]) -> bool:
    """Whether *host* is an address in one of the networks, which the standard library ignores."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(entries))


def _networks(entries: list[str]) -> Iterator[IPv4Network | IPv6Network]:
    for entry in entries:
        try:
            yield ip_network(entry.strip(), strict=False)
        except ValueError:
            continue  # a name
