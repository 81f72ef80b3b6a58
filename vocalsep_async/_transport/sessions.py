"""What becomes of a session whose event loop ends first."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import aiohttp


def closer_of(session: aiohttp.ClientSession) -> AsyncIterator[None]:
    """Have *session* closed at the end of the running event loop, unless it is closed before.

    Keep the result as long as the session.
    """
    # `asyncio.run` and its like finish the asynchronous generators of a loop before they close it:
    # the only moment in which a loop that ends can still close connections.
    closer = _close_at_the_end(session)
    try:
        closer.asend(None).send(None)
    except StopIteration:
        """It waits at its `yield` now, and the loop knows of it."""
    return closer


async def _close_at_the_end(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await session.close()


def drop(session: aiohttp.ClientSession) -> None:
    """Let go of *session*, whose event loop was closed without closing it.

    Python closes the sockets, as it does for whatever else such a loop left open.
    """
    connector = session.connector
    session.detach()
    if connector is not None:
        # Driven by hand: without its loop there is nothing that it could wait for.
        for _ in connector.close().__await__():
            pass
