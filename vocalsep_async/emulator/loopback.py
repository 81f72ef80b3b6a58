"""Addresses of this machine, the only ones that the emulator posts to."""

from __future__ import annotations

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL


def loopback_url(text: str | None) -> URL | None:
    """Return *text* as a URL; None unless it is an HTTP(S) URL of this machine."""
    try:
        url = URL(text or "")
        host = url.host or ""
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return None
    return url if is_local and url.scheme in {"http", "https"} else None


class LoopbackResolver(AbstractResolver):
    """Resolves every name to this machine, whatever the hosts file says."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the loopback addresses of *family*."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=found,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address, found in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))
            if family in {socket.AF_UNSPEC, found}
        ]

    async def close(self) -> None:
        """Do nothing: the resolver holds no resources."""
