"""An HTTP proxy on loopback, in the event loop of the test that uses it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from fault_server import Seen

_BLOCK = 1 << 16


class ForwardProxy:
    """Forwards requests and tunnels while its ``async with`` block is open.

    Every name is known to it alone: it leads to a port of this machine, as the names of a company
    do that only the company's proxy can resolve.

    Attributes:
        seen: the requests that came to the proxy itself.
        refusal: sent in answer to everything, instead of forwarding; None to forward.

    Args:
        ports: where ``host:port`` of a request leads to.
        tls: makes it a proxy that is spoken to over TLS.
    """

    def __init__(
        self, ports: Mapping[str, int] | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.seen: list[Seen] = []
        self.refusal: bytes | None = None
        self.ports = dict(ports or {})
        self._tls = tls
        self._port = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}"

    @property
    def targets(self) -> list[str]:
        """Method and target of each request that came."""
        return [f"{seen.method} {seen.target}" for seen in self.seen]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # An aborted transport closes its socket in the next round of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = Seen("", await reader.readuntil(b"\r\n\r\n"), b"")
        self.seen.append(seen)
        if self.refusal is not None:
            writer.write(self.refusal)
            await writer.drain()
            return
        if seen.method == "CONNECT":
            there, back = await self._connect(seen.target)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            parts = urlsplit(seen.target)
            there, back = await self._connect(f"{parts.hostname}:{parts.port or 80}")
            path = parts._replace(scheme="", netloc="").geturl()
            first, rest = seen.head.split(b"\r\n", 1)
            # One request for each connection is enough here.
            rest = rest.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            back.write(first.replace(seen.target.encode(), path.encode()) + b"\r\n" + rest)
        try:
            await asyncio.wait(
                [
                    asyncio.create_task(_pump(reader, back)),
                    asyncio.create_task(_pump(there, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            back.transport.abort()

    async def _connect(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.ports[name])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
