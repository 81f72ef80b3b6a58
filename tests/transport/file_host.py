"""A file host on loopback, in the event loop of the test that uses it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from fault_server import Seen, answer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class FileHost:
    """Listens while its ``async with`` block is open, and answers each connection once.

    Attributes:
        answers: by path; bytes are sent as they are, a handler does what it likes.
        seen: the requests that came.
        connections: how many were accepted.
        port: where it listens.

    Args:
        answers: the first ones; a path without an answer gets a small file.
        tls: makes it an HTTPS server.
    """

    def __init__(
        self,
        answers: Mapping[str, bytes | Handler] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answers = dict(answers or {})
        self.seen: list[Seen] = []
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._handlers: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        return self.url_of("127.0.0.1")

    def url_of(self, host: str) -> str:
        return f"http{'s' if self._tls else ''}://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)
        # An aborted transport closes its socket in the next round of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            self._handlers.discard(handler)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = Seen("", await reader.readuntil(b"\r\n\r\n"), b"")
        self.seen.append(seen)
        given = self.answers.get(urlsplit(seen.target).path, answer(b"audio", kind="audio/mpeg"))
        if isinstance(given, bytes):
            writer.write(given)
        else:
            await given(reader, writer)


class FakeResolver(AbstractResolver):
    """Answers with one list of addresses after the other; with the last one for ever.

    Attributes:
        resolved: the names, in order.
    """

    def __init__(self, *answers: list[str]) -> None:
        self.resolved: list[str] = []
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.resolved.append(host)
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not addresses:
            raise OSError(None, "no such name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""
