"""The client of a fixture: made with the options of a user, and closed wherever it was used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from vocalsep_async.client import ClientOptions, VocalSepClient
from vocalsep_async.emulator.emulator import Emulator
from vocalsep_async.emulator.fast import fast_settings

_CLOSING_PATIENCE = 30.0
"""Seconds in which an event loop that runs in another thread must close its client."""


@contextmanager
def fast_client(emulator: Emulator, options: ClientOptions) -> Iterator[VocalSepClient]:
    """A client of *emulator* with `fast_settings`, but for *options*; closed after the block.

    The block needs no event loop. The client belongs to the one that first uses it.
    """
    client = emulator.client(**fast_settings(**options))
    try:
        yield client
    finally:
        # In a thread, as the block itself may run in an event loop, such as that of a notebook.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_close, client).result()


def _close(client: VocalSepClient) -> None:
    """Close *client* in its event loop, in whatever state the block has left that."""
    loop = client._engines.current().binding.loop  # noqa: SLF001 - no user closes it elsewhere
    if loop is None:
        # Unused, closed in the block, or its loop was closed, and with it all connections.
        asyncio.run(client.aclose())
    elif loop.is_running():
        asyncio.run_coroutine_threadsafe(client.aclose(), loop).result(_CLOSING_PATIENCE)
    elif not loop.is_closed():
        loop.run_until_complete(client.aclose())
