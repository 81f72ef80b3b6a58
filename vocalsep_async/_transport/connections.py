"""The connections to the API: kept for a while, distrusted after a silence, opened to the end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from vocalsep_async._transport.sockets import noticing, plain_socket
from vocalsep_async.policies import IDLE_CONNECTION_PATIENCE

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey

_CONNECTIONS = 100
_MOST_ATTEMPTS = 20
"""Attempts to connect under way, beyond which none outlives its request."""


class ApiConnector(aiohttp.TCPConnector):
    """A pool of connections whose sockets notice a dead path.

    An attempt to connect outlives the request that began it: if that is cancelled, the connection
    goes into the pool for the next one. Otherwise requests with little time left could keep each
    other from ever getting a connection on a slow path.

    Args:
        patience: seconds for which such an attempt may go on.
        options: of aiohttp's connector, such as ``ssl``.
    """

    def __init__(self, *, patience: float, **options: Any) -> None:
        super().__init__(
            limit=_CONNECTIONS,
            keepalive_timeout=IDLE_CONNECTION_PATIENCE,
            socket_factory=noticing(plain_socket),
            **options,
        )
        self._patience = patience
        self._trusted: WeakSet[ResponseHandler] = WeakSet()
        """The connections that were made since the last silence."""
        self._attempts: set[asyncio.Task[ResponseHandler]] = set()
        self._is_closing = False

    def distrust(self) -> None:
        """Use no connection for a further request that is open now.

        What made one of them silent, such as a NAT that forgot it, may concern all.
        """
        self._trusted.clear()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: Any,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the base class's
    ) -> Connection:
        """Take a connection from the pool, or open one."""
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol in self._trusted:
                return connection
            connection.close()

    # The method that aiohttp's connectors implement: what is around it keeps the pool.
    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: Any,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the base class's
    ) -> ResponseHandler:
        attempt = asyncio.create_task(super()._create_connection(req, traces, timeout))
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        try:
            await asyncio.wait({attempt})
        except asyncio.CancelledError:
            self._go_on(attempt, req.connection_key)
            raise
        if attempt.cancelled():
            raise aiohttp.ClientConnectionError("the connector was closed")
        protocol = attempt.result()
        self._trusted.add(protocol)
        return protocol

    def _go_on(self, attempt: asyncio.Task[ResponseHandler], key: ConnectionKey) -> None:
        """Let *attempt*, whose request was cancelled, go on for a while."""
        patience = self._patience if len(self._attempts) <= _MOST_ATTEMPTS else 0.0
        end = asyncio.get_running_loop().call_later(patience, attempt.cancel)
        attempt.add_done_callback(partial(self._keep, key, end))

    def _keep(
        self,
        key: ConnectionKey,
        end: asyncio.TimerHandle,
        attempt: asyncio.Task[ResponseHandler],
    ) -> None:
        end.cancel()
        # Its errors concern no request any more.
        if attempt.cancelled() or attempt.exception() is not None:
            return
        protocol = attempt.result()
        if self.closed:
            protocol.close()
            return
        self._trusted.add(protocol)
        self._release(key, protocol)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or is being closed, which the errors of attempts come from."""
        return self._is_closing or super().closed

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections, and give up those that are being opened."""
        self._is_closing = True
        # First, because aiohttp leaves open what an attempt closes after the pool. In a loop that
        # was closed, none goes on.
        if self._attempts and not self._loop.is_closed():
            await self._give_up_attempts()
        await super().close(abort_ssl=abort_ssl)

    async def _give_up_attempts(self) -> None:
        # A tracing hook within an attempt may close the client.
        attempts = self._attempts - {asyncio.current_task()}
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts)
