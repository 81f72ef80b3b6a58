"""What becomes of a session whose event loop ends first."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp

from vocalsep_async import _tasks


def closer_of(session: aiohttp.ClientSession) -> AsyncIterator[None]:
    """Have *session* closed at the end of the running event loop, unless it is closed before.

    Keep the result as long as the session.
    """
    return _tasks.closer_of(session.close)


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
