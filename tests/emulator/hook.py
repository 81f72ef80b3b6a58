"""A webhook on a real socket, which answers as a test says."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
from aiohttp import web
from anyio.lowlevel import checkpoint

FAST = 1e6


class Hook:
    """A webhook that answers with the given statuses in turn, and then with the last of them."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses) or [200]
        self.url = ""
        self.received: list[web.Request] = []
        self._send, self._receive = anyio.create_memory_object_stream[dict[str, Any]](math.inf)

    async def take(self, request: web.Request) -> web.Response:
        self.received.append(request)
        await self._send.send(await request.json())
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async def body(self) -> dict[str, Any]:
        with anyio.fail_after(60):
            return await self._receive.receive()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        app = web.Application()
        app.router.add_post("/{tail:.*}", self.take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
            with self._send, self._receive:
                yield self
        finally:
            await runner.cleanup()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop go on until *condition* holds."""
    with anyio.fail_after(60):
        while not condition():
            await checkpoint()
